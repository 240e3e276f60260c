"""What every test shares: how hypothesis searches."""

from hypothesis import settings

# A busy machine is no defect of what is tested: no example has a deadline.
settings.register_profile("tiffin", parent=settings.default, deadline=None)
settings.load_profile("tiffin")
