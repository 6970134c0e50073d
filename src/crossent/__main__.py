"""``python -m crossent`` is the command ``crossent``."""

from crossent.cli import main

if __name__ == "__main__":
    main()
