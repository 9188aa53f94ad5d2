"""References beside hypotheses with marked edits."""

import html
import re

from tensorboard.plugin_util import markdown_to_safe_html

from jasper_tf.metrics.edit_table import edit_table

STROKE = "\u0336"


def cells(reference: str, hypothesis: str) -> list[str]:
    return [cell.strip() for cell in edit_table([reference], [hypothesis]).splitlines()[2].split("|")[1:-1]]


def test_each_kind_of_edit():
    assert cells("turn on the light", "turn on the light") == ["0%", "turn on the light", "turn on the light"]
    assert cells("turn on the light", "turn of the light") == ["25%", "turn **on** the light", "turn **of** the light"]
    assert cells("go on", "go on now") == ["50%", "go on", "go on **+now**"]
    rate, reference, hypothesis = cells("turn on the light", "turn the light")
    assert (rate, hypothesis) == ("25%", "turn the light")
    assert reference == f"turn **o{STROKE}n{STROKE}** the light"


def test_nothing_said_and_nothing_heard():
    assert cells("yes", "")[2] == "*(nothing)*"
    assert cells("", "yes") == ["100%", "*(nothing)*", "**+yes**"]
    assert cells("", "")[1:] == ["*(nothing)*", "*(nothing)*"]


def test_tensorboard_shows_every_character():
    """Through TensorBoard's own Markdown: one row of three cells, the text as it is."""
    texts = ["a|b `c` *d* _e_ __f__ [g](h) <b>i</b> &amp; \\j !k ~~l~~", "#1 + 2. - it's | || |"]
    page = markdown_to_safe_html(edit_table(texts, texts))
    # Whether a character stands there or its entity is TensorBoard's affair, and changes with its version.
    cells = [html.unescape(cell) for cell in re.findall("<td>(.*?)</td>", page)]
    assert len(cells) == 6 and all(cells.count(text) == 2 for text in texts), page
    assert page.count("<strong>") == 3 and "<b>" not in page  # those of the legend
    wrong = html.unescape(markdown_to_safe_html(edit_table(["*x* |"], ["|y_z_"])))
    assert "<strong>*x*</strong> <strong>" in wrong and "<strong>|y_z_</strong>" in wrong
