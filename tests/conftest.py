"""Settings of the whole suite."""

from hypothesis import settings

# A busy machine is no fault of an example: without this a pause of 200 ms is one.
settings.register_profile("skdre", deadline=None)
settings.load_profile("skdre")
