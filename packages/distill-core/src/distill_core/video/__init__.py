"""The room for video and picture files. Its doors are :mod:`reading` (files to frames) and :mod:`writing` (frames to mp4)."""
