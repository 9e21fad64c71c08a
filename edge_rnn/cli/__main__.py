"""``python -m edge_rnn.cli`` is the command ``edge-rnn``."""

from edge_rnn.cli.main import main

if __name__ == "__main__":
    main()
