"""`python -m streams` is `radstream`."""

from streams.cli import main

if __name__ == "__main__":
    main()
