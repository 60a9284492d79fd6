# With --doctest-modules pytest imports every module that it finds; these are none of its business.
collect_ignore_glob = ["*"]
