"""Where the audio of an utterance is stored: files, tar files, shards."""
