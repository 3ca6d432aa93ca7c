"""What the schedules share: their seed, a Kafka that may be killed, workers that are watched."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from adaptive_stream.embedded import EmbeddedKafka
