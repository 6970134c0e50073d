"""The scripts are run by the tests, and never imported to look for doctests."""

collect_ignore_glob = ["scripts/*"]
