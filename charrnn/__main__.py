"""`charrnn`, and `python -m charrnn`."""

import signal


def main() -> None:
    """Entry point of the command.

    While its modules are loaded there is nothing to save: Ctrl-C ends it without a traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from charrnn.cli.main import main

    main()


if __name__ == "__main__":
    main()
