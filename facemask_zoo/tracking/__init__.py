"""People over time: who is who in a video, how long they are masked, and when to tell somebody."""

from __future__ import annotations

from facemask_zoo.tracking.compliance import Compliance, Interval, Person
from facemask_zoo.tracking.stays import Event, StayRule
from facemask_zoo.tracking.tracker import Tracker
from facemask_zoo.tracking.webhook import Webhook
from facemask_zoo.tracking.zones import Zone

__all__ = ["Compliance", "Event", "Interval", "Person", "StayRule", "Tracker", "Webhook", "Zone"]
