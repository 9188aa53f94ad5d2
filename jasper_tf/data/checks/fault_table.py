"""What `check` says of each kind of fault."""

FAULT_TABLE = """\
The kinds of faults, with a line as --list and the table show it (FOLDER/train.json is checked beside FOLDER/dev.json):

  broken line                byte 66 is not UTF-8; save the manifest as UTF-8
  broken line                duration is '1.0'; it must be a number of seconds, 0 or more
  broken line                duration is 0; give the length in seconds or leave the key out
  broken line                a JSON list, not an object; write {...} on every line
  broken line                neither text nor text_filepath is there; give the transcript
  broken line                not JSON (Unterminated string starting at: line 1 column 54 (char 53)); the line is cut
                             off; write one JSON object per line
  missing                    audio_filepath: no such file FOLDER/wav/gone.wav
  missing                    audio_filepath: no such file FOLDER/wav\\good0.wav; Windows separators: write wav/good0.wav
  unreadable                 audio_filepath: FOLDER/wav is a directory, not a file
  empty text                 text is '  '; write the transcript, or remove the line
  characters outside labels  'ï' U+00EF, '3' U+0033 in 'naïve 3 letters'; see unknown_characters
  infeasible for CTC         1.5 s give 75 frames, its text needs 79
  speaking rate              2 characters in 9.5 s: 0.211 a second, fewer than 1.91
  speaking rate              72 characters in 1.5 s: 48 a second, more than 32.3
  duplicate                  the same part of the same file as FOLDER/train.json:2
  leak                       the same part of the same file as FOLDER/dev.json:1, which is not to be trained on

with --audio also

  unreadable                 FOLDER/wav/text.wav: cannot be decoded (Format not recognised); convert it to WAV or FLAC,
                             or leave it out
  truncated                  FOLDER/wav/truncated.wav: the file is cut off: audio up to 1.00 s, but its header promises
                             2.00 s; copy it again or leave it out
  not finite                 FOLDER/wav/nan.wav: holds samples that are not finite numbers (NaN or infinity); repair or
                             remove it
  silent                     FOLDER/wav/zeros.wav: holds nothing but zeros
  silent                     FOLDER/wav/faint.wav: its loudest 20 ms reach -78 dB
  clipped                    FOLDER/wav/clipped.wav: 15.4% of its samples are at full scale
  wrong duration             FOLDER/wav/longer.wav: lasts 3.00 s, but its line declares 1 s
  wrong duration             FOLDER/wav/shorter.wav: ends at 1.00 s, but 0 s + 2 s are asked for; correct offset and
                             duration
  wrong duration             FOLDER/wav/good3.wav: offset 7 s is beyond its end at 1.15 s
  duplicate                  the same samples as FOLDER/train.json:1
  leak                       the same samples as FOLDER/dev.json:2, which is not to be trained on
  too long                   FOLDER/long.wav: 2.5 h are asked for in one piece, at most 2 h are read; cut it with offset
                             and duration
  no such channel            FOLDER/wav/good3.wav: has 1 channel, no channel 3

and without being faults

  wrong rate                 FOLDER/wav/telephone.wav: 8000 Hz is resampled to 16000 Hz

What else a recording can have, in `check --audio`, in training (`on_bad_audio: skip` leaves these out) and in `shard`:

    F: no such file                                             missing, or gone since it was listed
    F: is a directory, not a file                               or: is not a regular file
    F: cannot be read (permission denied)
    F: is empty (0 bytes); copy it again or leave it out
    F: holds no samples in the part that is asked for; leave it out
    F: the file is cut off or damaged (flac decoder lost sync); copy it again or leave it out
    F: the file is cut off: audio up to 19.25 s, but the Ogg stream goes on; copy it again or leave it out
    F: its header promises 6.00 s, but there are 20.09 s of audio; write it again (ffmpeg -i OLD NEW)
    F: 10.0 h are asked for in one piece, at most 2 h are read; cut it with offset and duration
    S: the file is cut off at byte N, its part from A to B is asked for; copy it again, or take the manifest that ...
    S: the record at byte N is damaged (wrong checksum); copy the shard again, or create it again
    S: has X bytes, the index says Y; copy the folder again, or run `python -m jasper_tf shard` again
    model.train_ds: 3 of 25 recordings cannot be read, more than max_bad_audio 0.1 allows; the last: ...

A byte order mark, CRLF and blank lines are no faults. A leak is reported at the training line.
"""
"""A line of each kind, as it is printed; the end of `check --help`."""
