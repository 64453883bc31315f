"Packaging: every fact stands in settings.ini."
