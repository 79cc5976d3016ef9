"""Logs numbered lines as the settings say; with its name and their number as arguments."""

import logging
import sys

import django

django.setup()

name, count = sys.argv[1], int(sys.argv[2])
for number in range(count):
    logging.getLogger("writer").info("line %s of %s", number, name, extra={"action": f"{name}-{number}"})
