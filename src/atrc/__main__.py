"""`python -m atrc`."""

from atrc.app.cli import main

if __name__ == "__main__":
    main()
