"""Packs a binary of hfget as wheel, archive, image, deb and rpm. Needs Python's standard library only."""
