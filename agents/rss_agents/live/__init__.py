"""A look at runs while they train, and a person who rates what they answer.

`rss-watch` serves a page about runs; `rss-rate` trains from the stars that somebody gives on that
page. Only the modules of the page import NiceGUI (the extra `rss-env[live]`): a scorer that asks a
person needs nothing but files.
"""
