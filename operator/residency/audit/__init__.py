"""The picture of what runs, kept up to date change by change; pure: whoever watches feeds it."""
