"""`python -m tagwarden`."""

from tagwarden.cli.main import main

if __name__ == "__main__":
    main()
