"""What looks at artefacts, or makes other files from them: verify, show, forecast,
recount, export, audit.
"""
