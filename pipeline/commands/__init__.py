"""The command line. Each file holds the commands on one subject, and is imported when
one of them is called.
"""
