"""One run of the tests is like another: hypothesis draws its examples from the tests themselves."""

from hypothesis import settings

settings.register_profile("reproducible", derandomize=True)
settings.load_profile("reproducible")
