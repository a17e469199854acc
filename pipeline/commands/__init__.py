"""The command line. Each file holds the commands on one subject; a call of one of
them imports the file.
"""
