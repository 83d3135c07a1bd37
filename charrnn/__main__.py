"""`python -m charrnn`."""

from charrnn.cli.main import main

if __name__ == "__main__":
    main()
