"""What is kept on disk between runs: files that are whole or not there, found by a key of what they depend on."""
