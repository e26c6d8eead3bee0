"""What resellers may give their customers: `acme-partners.ndjson` and `globex-partners.ndjson`.

Packages, add-ons and limits are invented; `org.ei.pro.v1` is named as in the published example.
"""

from shared import repeated

# account: (type, name, quantity, entitlements)
OFFERINGS = {
    "ACME": [
        ("package", "org.ei.trial.v1", 1, {"email_sends_max_daily": 100, "users_max_total": 1}),
        ("package", "org.ei.starter.v1", 1,
         {"email_sends_max_monthly": 25000, "ip_count": 0, "teammates_max_total": 2, "users_max_total": 1}),
        ("package", "org.ei.pro.v1", 1,
         {"email_sends_max_monthly": 100000, "ip_count": 1, "teammates_max_total": 10, "users_max_total": 1}),
        ("package", "org.ei.pro.v2", 1,
         {"email_sends_max_monthly": 150000, "ip_count": 1, "subaccounts_max_total": 5, "teammates_max_total": 15,
          "users_max_total": 3}),
        ("package", "org.ei.scale.v1", 1,
         {"email_sends_max_monthly": 2500000, "ip_count": 4, "subaccounts_max_total": 50, "teammates_max_total": 100,
          "users_max_total": 25}),
        ("package", "org.ei.metered.v1", 1, {}),
        ("package", "org.sms.local.v1", 1, {"sms_segments_max_monthly": 5000, "sender_numbers_max_total": 2}),
        ("package", "org.sms.world.v1", 1,
         {"sms_segments_max_monthly": 50000, "sender_numbers_max_total": 20, "countries_max_total": 190}),
        ("package", "org.sms.world.v2", 1,
         {"sms_segments_max_monthly": 75000, "sender_numbers_max_total": 25, "countries_max_total": 212,
          "messages_max_per_second": 30}),
        ("package", "org.voice.team.v1", 1,
         {"call_minutes_max_monthly": 3000, "concurrent_calls_max": 10, "users_max_total": 10}),
        ("package", "org.voice.contact_centre.v1", 1,
         {"agents_max_total": 60, "call_minutes_max_monthly": 120000, "concurrent_calls_max": 120,
          "recording_retention_days": 90, "users_max_total": 80}),
        ("package", "org.push.standard.v1", 1, {"devices_max_total": 250000, "push_sends_max_monthly": 5000000000}),
        ("package", "org.esim.reseller.v1", 1,
         {"profiles_max_total": 1000, "brands_max_total": 1, "teammates_max_total": 5,
          "api_requests_max_per_minute": 300}),
        ("package", "org.suite.business.v3", 1,
         {"email_sends_max_monthly": 500000, "sms_segments_max_monthly": 20000, "call_minutes_max_monthly": 10000,
          "ip_count": 2, "teammates_max_total": 50, "users_max_total": 50}),
        ("addon", "addon.ei.address_check.v1", 1, {"address_checks_max_monthly": 20000}),
        ("addon", "addon.ei.archive.v1", 1, {"archive_bytes_max_total": 53687091200, "archive_retention_days": 365}),
        ("addon", "addon.ei.dedicated_ip.v1", 1, {"ip_count": 1}),
        ("addon", "addon.ei.dedicated_ip_block.v1", 8, {"ip_count": 1}),
        ("addon", "addon.ei.extra_sends_50k.v1", 1, {"email_sends_max_monthly": 50000}),
        ("addon", "addon.ei.subaccounts.v1", 10, {"subaccounts_max_total": 1}),
        ("addon", "addon.esim.branding.v1", 1, {"brands_max_total": 3}),
        ("addon", "addon.platform.audit_log.v1", 1, {"audit_retention_days": 730}),
        ("addon", "addon.platform.sandbox.v1", 1, {}),
        ("addon", "addon.platform.sso.v1", 1, {"identity_providers_max_total": 2}),
        ("addon", "addon.platform.teammates.v1", 5, {"teammates_max_total": 1}),
        ("addon", "addon.push.web.v1", 1, {"sites_max_total": 10}),
        ("addon", "addon.sms.sender_number.v1", 1, {"sender_numbers_max_total": 1}),
        ("addon", "addon.sms.short_code.v1", 1, {"messages_max_per_second": 100, "short_codes_max_total": 1}),
        ("addon", "addon.support.priority.v2", 1, {"response_minutes_max": 60, "contacts_max_total": 4}),
        ("addon", "addon.voice.channels.v1", 10, {"concurrent_calls_max": 1}),
        ("addon", "addon.voice.recording.v1", 1, {"recording_hours_max_total": 500, "recording_retention_days": 30}),
        ("addon", "addon.voice.transcripts.beta", 1, {}),
    ],
    "GLOBEX": [
        ("package", "org.ei.starter.v1", 1, {"email_sends_max_monthly": 40000, "teammates_max_total": 3}),
        ("package", "org.ei.pro.v1", 1,
         {"email_sends_max_monthly": 120000, "ip_count": 2, "teammates_max_total": 10, "users_max_total": 5}),
        ("package", "org.fleet.tracking.v1", 1, {"positions_max_monthly": 3000000, "vehicles_max_total": 200}),
        ("package", "org.fleet.trial.v1", 1, {}),
        ("package", "org.sms.world.v1", 1, {"countries_max_total": 45, "sms_segments_max_monthly": 30000}),
        ("addon", "addon.ei.dedicated_ip.v1", 2, {"ip_count": 1}),
        ("addon", "addon.fleet.geofences.v1", 1, {"geofences_max_total": 500}),
        ("addon", "addon.platform.sso.v1", 1, {"identity_providers_max_total": 1}),
    ],
}


def records(account: str) -> list[dict]:
    names = repeated([name for _, name, _, _ in OFFERINGS[account]])
    if names:
        raise ValueError(f"repeated partner offerings: {names}")
    return [{"kind": "partnerOffering", "offering": {"name": name, "type": kind, "quantity": quantity},
             "entitlements": entitlements}
            for kind, name, quantity, entitlements in OFFERINGS[account]]
