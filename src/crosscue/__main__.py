"""The command line as `python -m crosscue`, for `torchrun -m crosscue`."""

from crosscue.cli import main

if __name__ == "__main__":
    main()
