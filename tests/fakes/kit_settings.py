"""What the fake Kit can be told to do otherwise, and the credentials it knows.

Each default is what the published pages or the captured answers make the more likely.
"""

from dataclasses import dataclass

from tests.fakes import base

API_KEY = "fake-kit-key"
ACCESS_TOKEN = "fake-kit-access"
REFRESH_TOKEN = "fake-kit-refresh"
CLIENT_ID = "fake-kit-client"
CLIENT_SECRET = "fake-kit-client-secret"
HOOK_SECRET = "whsec_fake_kit_secret"  # of webhooks that a test asks for by /admin/fire

# All names that an endpoint may ask for; those of Settings.planned_events answer 422.
EVENTS = (
    "subscriber.created",
    "subscriber.activated",
    "subscriber.unsubscribed",
    "subscriber.bounced",
    "subscriber.complained",
    "subscriber.subscribed_to_form",
    "subscriber.added_to_sequence",
    "subscriber.sequence_completed",
    "subscriber.tag_added",
    "subscriber.tag_removed",
    "subscriber.product_purchased",
    "subscriber.link_clicked",
    "subscriber.email_opened",
    "subscriber.custom_field_value_updated",
    "tag.created",
    "tag.deleted",
    "custom_field.created",
    "custom_field.deleted",
)


@dataclass(frozen=True, slots=True)
class Settings(base.Settings):
    """Kit's own switches. All times in seconds of the fake's clock."""

    # Limits: calls of one credential in a rolling window.
    key_limit: int = 120
    token_limit: int = 600
    limit_seconds: float = 60
    # Lists. Some subscribers lag longer than the rest: a tail of up to 300 s is published.
    lag_tail_seconds: float = 0
    lag_tail_share: float = 0.05
    tag_lists_lag: bool = False  # whether /subscribers/{id}/tags lags like a list
    newest_first: bool = False
    unset_in_list: bool = False  # whether lists of subscribers name fields without a value
    empty_tags_missing: bool = False  # whether include=tags leaves the key out where there are none
    many_addresses: bool = True  # whether email_address=a,b asks for both
    tag_moves_updated: bool = False
    # Writing.
    unknown_fields: str = "warn"  # or "drop" (says nothing) or "refuse" (422)
    empty_is_null: bool = True  # how a field that was set to "" reads
    put_needs_email: bool = True
    untag_missing_status: int = 204  # taking off a tag that isn't there
    fields_seconds: float = 10  # until more than 10 fields are stored
    subscriber_limit: int = 0  # of the plan; 0 is none
    bulk_seconds: float = 30  # until more than 100 entries are worked off
    bulk_queue_bytes: int = 300_000_000
    # Tokens.
    token_seconds: float = 172_800
    refresh_grace: bool = False  # a used refresh token works on until the new access token is used
    reuse_revokes: bool = False  # a used refresh token, sent again, ends all tokens
    refresh_ends_access: bool = False  # a refresh ends the access token before it
    # Webhooks.
    endpoints_need_oauth: bool = False
    foreign_endpoint_status: int = 404  # what a key is told of an app's endpoint; 403 is possible
    loopback_hooks: bool = True  # Kit refuses them; tests have nothing else
    planned_events: tuple[str, ...] = (
        "subscriber.product_purchased",
        "subscriber.link_clicked",
        "subscriber.email_opened",
    )
    activated_on_create: bool = True
    batch_seconds: float = 0  # how long events of a type are gathered
    out_of_order: bool = False
    hook_copies: int = 1  # how often each delivery is sent, under the same delivery_id
    hook_timeout_seconds: float = 30  # of real time
    previous_secret_seconds: float = 86_400
    gone_disables: bool = False  # whether 410 disables the endpoint, besides ending the delivery
    sign_by_real_clock: bool = False  # so that a server believes deliveries of a clock moved on
    compact_hooks: bool = False  # the published examples are indented
    legacy_retries: tuple[float, ...] = ()  # waits between tries; none are published
    legacy_repeats: bool = False  # whether putting on a tag that is there fires
