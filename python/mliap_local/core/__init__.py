"""The few general ideas that the names of `mliap_local.local` rest on.

Nothing here knows what a potential is.
"""
