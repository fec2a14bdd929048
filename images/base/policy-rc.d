#!/bin/sh
# A package's installation must not start its daemon: an image is not running, and its processes are the entrypoint's.
exit 101
