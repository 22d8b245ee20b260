"""What the scans of a QR code add up to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import text

COUNTS = text("""
    select c.code, count(s.id) as total_scans, count(distinct s.session_id) as unique_sessions,
        count(*) filter (where s.converted_to_booking) as conversions,
        count(*) filter (where s.scanned_at > now() - interval '24 hours') as last_24_hours,
        count(*) filter (where s.device = 'mobile') as mobile,
        count(*) filter (where s.device = 'tablet') as tablet,
        count(*) filter (where s.device = 'desktop') as desktop,
        max(s.scanned_at)::text as last_scan_at
    from marketing.qr_codes c left join marketing.qr_scans s on s.qr_code_id = c.id
    where c.code = :code group by c.code
""")


def present(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of counts as the answer of the API."""
    return {
        "code": row["code"],
        "total_scans": row["total_scans"],
        "unique_sessions": row["unique_sessions"],
        "conversions": row["conversions"],
        "conversion_rate": round(row["conversions"] / row["total_scans"], 4) if row["total_scans"] else 0.0,
        "last_24_hours": row["last_24_hours"],
        "devices": {name: row[name] for name in ("mobile", "tablet", "desktop")},
        "last_scan_at": row["last_scan_at"],
        "trend": row["last_7_days"] - row["previous_7_days"],
    }
