"""Tools that read artefacts, or make other files from them: verify, show, forecast,
recount, export, audit.
"""
