"""The columns of an Ontraport contact, as a captured read shows them, and how a value sent becomes a value stored."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `initial` is what a contact shows that was never given a value; the API can't write locked ones."""

    name: str
    alias: str
    kind: str = "text"
    initial: str | None = ""
    locked: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    parent: str = ""  # the object type that a column of kind "parent" points to

    @property
    def own(self) -> bool:
        """Whether the account's owner made it."""
        return re.fullmatch(r"f\d+", self.name) is not None

    @property
    def number_in_lists(self) -> bool:
        """Captured: "1" or "0" in most answers, 1 in a list."""
        return re.fullmatch(r"page_\d+_published", self.name) is not None

    def described(self) -> dict[str, object]:
        """Its entry in the answer of meta. `editable` of a parent is null, of others "1" or "0"."""
        editable = None if self.kind == "parent" else "01"[not self.locked]
        row: dict[str, object] = {"alias": self.alias, "type": self.kind, "required": "0", "unique": "0"}
        row |= {"editable": editable, "deletable": "0"}
        if self.options:
            row["options"] = dict(self.options)
        if self.parent:
            row["parent_object"] = self.parent
        return row

    def stored(self, value: object) -> str | None:
        """What is kept of a value that was sent; None if it can't be taken and is passed over."""
        text = "" if value is None else str(int(value)) if isinstance(value, bool) else str(value)
        if self.kind == "country":
            return _COUNTRIES.get(text.lower(), text)
        if self.kind == "check":
            return text if text in {"", "0", "1"} else None
        if self.kind == "drop":
            return text if text in self.options or text in {"", "0"} else None
        if self.kind == "list":
            return text if {one for one in text.split("*/*") if one} <= set(self.options) else None
        return text


_COUNTRIES = {
    "australia": "AU",
    "austria": "AT",
    "canada": "CA",
    "france": "FR",
    "germany": "DE",
    "india": "IN",
    "ireland": "IE",
    "new zealand": "NZ",
    "south africa": "ZA",
    "united kingdom": "GB",
    "united states": "US",
}

# name | alias | kind | shown at first (~ is null) | locked. In the order of the captured contact.
_HEAD = """
id|Contact ID|numeric|~|locked
owner|Owner|parent|1|locked
firstname|First Name
lastname|Last Name
email|Email|email
address|Address||~
city|City||~
state|State|state|~
zip|Zip Code||~
birthday|Birthday|fulldate|~
date|Date Added|timestamp|0|locked
status|Sales Stage|drop|~
priority|Priority|drop|0
user_agent|User Agent||~|locked
home_phone|Home Phone|phone|~
sms_number|SMS Number|sms|~
dla|Last Activity|timestamp|0|locked
contact_cat|Contact Tags|subscription||locked
bulk_mail|Bulk Email Status|drop|1|locked
bulk_sms|Bulk SMS Status|drop|0|locked
office_phone|Office Phone|phone|~
fax|Fax|phone|~
dlm|Date Modified|timestamp|0|locked
company|Company||~
address2|Address 2
title|Title||~
website|Website||~
country|Country|country|~
system_source|Source||3|locked
source_location|Source Location||~|locked
import_id|Import|numeric|0|locked
ip_addy|IP Address||~|locked
ip_addy_display|IP Address Shown||~|locked
freferrer|First Referrer|parent|0
lreferrer|Last Referrer|parent|0
n_lead_source|First Lead Source|parent|0
n_content|First Content|parent|0
n_term|First Term|parent|0
n_media|First Medium Old|parent|0
n_medium|First Medium|parent|0
n_campaign|First Campaign|parent|0
l_lead_source|Last Lead Source|parent|0
l_content|Last Content|parent|0
l_term|Last Term|parent|0
l_medium|Last Medium|parent|0
l_campaign|Last Campaign|parent|0
referral_page|Referring Page||~
aff_sales|Partner Sales|numeric|0|locked
aff_amount|Partner Amount|price|0|locked
program_id|Partner Program|parent|1
aff_paypal|Partner PayPal|email|~
fb_gender|Gender||~
mrcAmount|Most Recent Charge|price|0|locked
mrcUnpaid|Unpaid|price|0.00|locked
mriInvoiceNum|Most Recent Invoice|numeric|0|locked
mriInvoiceTotal|Most Recent Total|price|0|locked
ccType|Card Type|drop|0|locked
ccExpirationMonth|Card Month|drop|0|locked
ccExpirationYear|Card Year|drop|0|locked
ccExpirationDate|Card Expires|timestamp|0|locked
ccNumber|Card Last Four||~|locked
mrcResult|Charge Result|drop|0|locked
bindex|Index|numeric|1|locked
last_inbound_sms|Last Inbound SMS||~|locked
timezone|Time Zone|timezone|~
time_since_dla|Time Since Activity|numeric|0|locked
facebook_link|Facebook
instagram_link|Instagram
linkedin_link|LinkedIn
profile_image|Profile Image|image|~
gcid|Google Client
gclid|Google Click
fbc|Facebook Click
fbp|Facebook Browser
spent|Spent|price|0|locked
owed|Owed|price|0|locked
commish|Commission|price|0|locked
refundtotal|Refund Total|price|0|locked
refund|Refunds|numeric|0|locked
lead|Lead Score|numeric|0|locked
visit|Visits|numeric|0|locked
last_currency_used|Last Currency||~|locked
"""
# Behind what the account's owner made.
_TAIL = """
updateSequence|Sequences|subscription||locked
updateCampaign|Automations|subscription||locked
unique_id|Unique ID|||locked
"""


def _column(line: str) -> Column:
    name, alias, kind, initial, locked = (line + "|" * 4).split("|")[:5]
    return Column(name, alias, kind or "text", None if initial == "~" else initial, locked == "locked")


HEAD = tuple(map(_column, _HEAD.strip().splitlines()))
TAIL = tuple(map(_column, _TAIL.strip().splitlines()))

# What the owner of a fresh fake has made: the kinds that are unlike a text, and a landing page with its counters.
OWN = (
    Column("f1500", "Household", "parent", "0", parent="10000"),
    Column("f1501", "Level", "drop", "0", options={"1": "Silver", "2": "Gold"}),
    Column("f1502", "Interests", "list", "", options={"1": "Bread", "2": "Cake"}),
    Column("f1503", "Newsletter", "check", "0"),
    Column("page_101_url", "Page 101 URL", "url", "", locked=True),
    Column("page_101_visits", "Page 101 Visits", "numeric", "0", locked=True),
    Column("page_101_published", "Page 101 Published", "check", "0", locked=True),
)
