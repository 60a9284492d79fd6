"""Exports: the same engine and the same report, on a platform.

Each platform has a module with one function, ``export(folder, settings_path, out, *, wheels)``. It
writes what the platform needs from the source of an assignment and ``course.toml`` to ``out``, and
returns what is to be done with it. ``wheels`` is a folder with the wheels that go with it; without
it they are made and downloaded. `minisd.cli.course_staff.EXPORTS` has all of them.
"""
