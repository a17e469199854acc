"""`python -m pipeline` is the command `going-deeper`."""

from pipeline.cli import main

if __name__ == "__main__":
    main()
