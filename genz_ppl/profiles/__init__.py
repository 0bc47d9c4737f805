"""Profiles: a short text of each item or user, its tags, a vector and answers, written once and kept in a feature store."""

from genz_ppl.profiles.encoders import TextEncoder
from genz_ppl.profiles.refresh import Refresh, make_profiles
from genz_ppl.profiles.table import Profile, Profiles, read_profiles
from genz_ppl.profiles.users import histories, pairs_hash

__all__ = ["Profile", "Profiles", "Refresh", "TextEncoder", "histories", "make_profiles", "pairs_hash", "read_profiles"]
