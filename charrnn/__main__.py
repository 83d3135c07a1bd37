"""The entry point of `charrnn` and `python -m charrnn`."""

import signal


def main() -> None:
    """Run the command.

    While modules are being imported there is nothing to save, so Ctrl-C ends the process directly,
    without a traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from charrnn.cli.main import main

    main()


if __name__ == "__main__":
    main()
