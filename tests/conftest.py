"""What holds for all tests: hypothesis asserts no time, and says how to repeat what failed."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "ferrisdb", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("ferrisdb")
