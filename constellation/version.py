"""The version of the library, in the one place that states it."""

VERSION = "0.1.0"
