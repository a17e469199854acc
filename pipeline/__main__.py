"""`python -m pipeline` is the command `going-deeper`."""

from pipeline.commands.main import main

if __name__ == "__main__":
    main()
