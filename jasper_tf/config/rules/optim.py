"""Rules of `model.optim`: the keys of each optimizer and schedule, and their defaults."""

from __future__ import annotations

from typing import Any

from jasper_tf.config.rules.monitor import check_monitor
from jasper_tf.config.schema import Config
from jasper_tf.config.section import MISSING
from jasper_tf.config.sections.optim_schema import OPTIMIZERS, PLATEAU, REQUIRED, SCHEDULES, OptimConfig, SchedConfig
from jasper_tf.config.source import ConfigSource, Keys


def complete_optim(config: Config, source: ConfigSource) -> None:
    """Refuses the keys that the chosen optimizer and schedule do not know, and fills in their defaults."""
    optim = config.model.optim
    at: Keys = ("model", "optim")
    _complete_keys(optim, OPTIMIZERS, at, source)
    if optim.eps not in (None, MISSING) and isinstance(optim.eps, tuple) != (optim.name == "adafactor"):
        numbers = "two numbers: for squared gradients, for weights" if optim.name == "adafactor" else "one number"
        raise source.error((*at, "eps"), f"{optim.name} takes {numbers}")
    sched = optim.sched
    if sched is None or sched == MISSING:
        return
    at += ("sched",)
    _complete_keys(sched, SCHEDULES, at, source)
    for kind in ("warmup", "constant", "hold"):
        if getattr(sched, f"{kind}_steps") is not None and getattr(sched, f"{kind}_ratio") is not None:
            raise source.error((*at, f"{kind}_ratio"), f"{kind}_steps is given too; give one of the two")
    if not sched.reduce_on_plateau:
        given = next((key for key in PLATEAU if getattr(sched, key) is not None), None)
        if given:
            raise source.error(
                (*at, given), "has no effect without reduce_on_plateau: true; set it, or leave this key out"
            )
        return
    if config.model.validation_ds is None:
        raise source.error((*at, "reduce_on_plateau"), "needs validations; give model.validation_ds")
    for key, default in PLATEAU.items():
        if getattr(sched, key) is None:
            setattr(sched, key, default)
    sched.monitor = sched.monitor or "val_loss"
    check_monitor(config, sched.monitor, (*at, "monitor"), source)


def _complete_keys(
    section: OptimConfig | SchedConfig, tables: dict[str, dict[str, Any]], at: Keys, source: ConfigSource
) -> None:
    if section.name == MISSING:
        return
    known = tables[section.name]
    for key in dict.fromkeys(key for table in tables.values() for key in table):
        if key not in known and getattr(section, key) is not None:
            raise source.error((*at, key), f"{section.name} does not know this key; it knows {', '.join(known)}")
        if key in known and getattr(section, key) is None:
            if known[key] is REQUIRED:
                raise source.error((*at, key), f"this key is missing; {section.name} needs it")
            setattr(section, key, known[key])
