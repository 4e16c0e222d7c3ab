"""The closed list of reason codes, each with one sentence that says what happened and one that says what to do.

Braces are filled from a finding's detail; a value that is missing shows as an ellipsis, so that a sentence can
always be made. Log, pages, command line and docs/troubleshooting.md all read from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """`title`: what happened. `help`: what to do, or what happens next by itself."""

    title: str
    help: str


class _Gaps(dict[str, object]):
    def __missing__(self, key: str) -> str:
        return "…"


REASONS: dict[str, Reason] = {
    # At the door: the call itself.
    "contact-id-missing": Reason(
        "The call carries no contact id.",
        "Add the contact id to the webhook: in the form as contactId, or as the whole body.",
    ),
    "contact-id-unresolved": Reason(
        "The contact id arrived as {value}: the CRM didn't fill it in.",
        "Put the merge field in from the CRM's own list of fields, not typed by hand.",
    ),
    "contact-id-malformed": Reason(
        "“{value}” is not a contact id of this CRM.",
        "Send the contact's own id, not an e-mail address or a name.",
    ),
    "contact-id-empty": Reason(
        "The contact id arrived empty, in {where}.",
        "Choose the contact's id from the CRM's own list of fields; an empty field of that name was sent.",
    ),
    "too-many-contacts": Reason(
        "The call names {count} contacts; a call may name at most 1,000.",
        "Send them in several calls.",
    ),
    "body-unreadable": Reason(
        "The body of the call can't be read: {why}.",
        "Send a form or JSON. The call is kept as it came.",
    ),
    "parameter-missing": Reason(
        "The parameter {parameter} is missing.",
        "Add &{parameter}=… to the webhook's address.",
    ),
    "parameter-not-a-number": Reason(
        "The parameter {parameter} is “{value}”, which is not a whole number.",
        "Put the number itself into the webhook's address, for example &{parameter}=3.",
    ),
    "parameter-out-of-range": Reason(
        "The parameter {parameter} is {value}, which lies outside {range}.",
        "Change the number in the webhook's address.",
    ),
    "parameter-too-long": Reason(
        "The parameter {parameter} is longer than 200 characters.",
        "Choose a shorter text in the webhook's address.",
    ),
    "operation-unknown": Reason(
        "There is no command {spelled}.",
        "Did you mean {nearest}? Change the word in the webhook's address.",
    ),
    "operation-misspelled": Reason(
        "The command is spelled {spelled}. It should be {nearest}.",
        "Change the word in the webhook's address, then redeliver this call with {nearest}.",
    ),
    "operation-missing": Reason(
        "The call has a secret but names no command.",
        "The address must hold ?aal_<command>=<secret>, for example ?aal_updateuser=…",
    ),
    "operation-ambiguous": Reason(
        "The call names several commands: {words}.",
        "Send one command a call.",
    ),
    "handshake-wrong": Reason(
        "The secret in the webhook's address is wrong, or not allowed to run this command.",
        "Copy the webhook's address again from Tagwarden and paste it into the CRM.",
    ),
    "method-not-allowed": Reason(
        "The call came as {method}; webhooks are taken as POST.",
        "Choose POST in the CRM, or allow GET for this secret.",
    ),
    "too-large": Reason(
        "The call is larger than 64 KiB, or a CRM's own hook larger than 256 KiB.",
        "Send less: the contact id is enough.",
    ),
    "head-too-large": Reason(
        "The call's address or headers are too long.",
        "Keep the webhook's address under 8 KiB; send long values in the body.",
    ),
    "encoding-not-supported": Reason(
        "The body is packed as {encoding}, which can't be unpacked here.",
        "Send it unpacked, or packed with gzip.",
    ),
    "not-stored": Reason(
        "The call could not be put on disk in time.",
        "Send it again. If this goes on, look at the server's disk.",
    ),
    "body-stopped": Reason(
        "The call's body stopped arriving.",
        "Send it again.",
    ),
    # Members and contacts.
    "not-a-member": Reason(
        "This contact isn't a member here, so there was nothing to refresh.",
        "If this person should be a member, call genpass first, or import the contact.",
    ),
    "contact-merged": Reason(
        "{crm} merged this contact into {into}.",
        "The member goes on there by itself. Nothing needs to be done.",
    ),
    "contact-not-found": Reason(
        "{crm} has no contact {contact}.",
        "Look whether the contact was deleted or merged in {crm}. Nothing was taken away here.",
    ),
    "contact-not-yet-there": Reason(
        "{crm} has no contact {contact} yet.",
        "It may have been made a moment ago. We look again for ten minutes.",
    ),
    "password-erased": Reason(
        "The password could not be handed to the CRM for seven days, so it was erased.",
        "Run the call again as new: it makes a new password.",
    ),
    "password-handed-over": Reason(
        "The CRM has the member's newest password already, by another call.",
        "There is nothing to do.",
    ),
    "contact-deleted": Reason(
        "The contact was deleted in {crm}.",
        "Access stays as it is until you decide.",
    ),
    "email-conflict": Reason(
        "Two contacts have the e-mail {email}.",
        "Merge them in the CRM, or keep both and give one another address.",
    ),
    "email-missing": Reason(
        "The contact has no e-mail address in {crm}, so no account can be made.",
        "Add the address in {crm}, then redeliver.",
    ),
    "tags-missing": Reason(
        "{crm}'s answer came without tags, so nothing was taken away.",
        "We ask again by ourselves. If this goes on, ask {crm}'s support.",
    ),
    "row-missing": Reason(
        "{crm}'s list left this contact out, so nothing was taken away.",
        "We ask for the contact alone.",
    ),
    # The road.
    "crm-settling": Reason(
        "Waiting for {crm} to settle: its lists show changes late.",
        "We read the contact again at {until}. New tags are in already; none is taken away before then.",
    ),
    "crm-paused": Reason(
        "{crm} asked for a pause.",
        "We go on by ourselves when it is over.",
    ),
    "crm-limit": Reason(
        "Waiting for its turn: {crm} takes only so many calls in a given time.",
        "We go on by ourselves. The connection’s reserve says how much is left to your other tools.",
    ),
    "crm-down": Reason(
        "{crm} is down since {since}; next look at {until}.",
        "We go on by ourselves when it is back. No try is lost to it.",
    ),
    "crm-overloaded": Reason(
        "{crm} was overloaded (it answered {status}).",
        "We try again by ourselves.",
    ),
    "crm-unreachable": Reason(
        "{crm} didn't answer: {why}.",
        "We try again by ourselves.",
    ),
    "crm-answer-broken": Reason(
        "{crm}'s answer was cut off or can't be read.",
        "We try again by ourselves.",
    ),
    "crm-key-refused": Reason(
        "{crm} refused our key.",
        "Give this connection a new key, then redeliver.",
    ),
    "crm-unpaid": Reason(
        "{crm} says that the account isn't paid.",
        "Settle that with {crm}, then redeliver.",
    ),
    "crm-tag-missing": Reason(
        "The tag {tag} is gone from {crm}.",
        "Choose another tag or make it again in {crm}, then redeliver.",
    ),
    "crm-field-missing": Reason(
        "The field “{field}” is gone from {crm}.",
        "Choose another field or make it again in {crm}, then redeliver.",
    ),
    "crm-value-not-kept": Reason(
        "{crm} took what was written into the field “{field}”, but doesn't have it.",
        "We try again by ourselves. If this goes on, look in {crm} whether it is a text field that may be changed.",
    ),
    "crm-refused": Reason(
        "{crm} refused the request (it answered {status}).",
        "Look at the call's details; if the cause is gone, redeliver.",
    ),
    "sibling-not-done": Reason(
        "It waits for another step, which was given up.",
        "Redeliver the step before it.",
    ),
    "restored": Reason(
        "It is held since the server was restored from a backup.",
        "Look at what was filled in since then, and press Resume on a staff page, or run `tagwarden resume`.",
    ),
    "restored-mail-unknown": Reason(
        "The server was restored from a backup; this mail may have left before.",
        "It isn't sent by itself. Redeliver it if it never arrived.",
    ),
    "restored-charge-unknown": Reason(
        "The server was restored from a backup; this charge may have been made before.",
        "Look for it at the payment provider, and redeliver it only if it isn't there.",
    ),
    "worker-died": Reason(
        "The server stopped three times while this job was in hand.",
        "Redeliver it once. If it happens again, report it with this delivery's number.",
    ),
    "internal-error": Reason(
        "Tagwarden made a mistake here ({error}).",
        "We try again by ourselves. If it stays, report it with this delivery's number.",
    ),
    "no-smtp": Reason(
        "There is no mail server yet, so the mail is kept here.",
        "Set TAGWARDEN_SMTP_URL and start the server again; then the mail goes out by itself.",
    ),
    "mail-from-missing": Reason(
        "This site has no address that its mails come from.",
        "Set it with: tagwarden site set SITE --mail-from ADDRESS. Then redeliver.",
    ),
    "mail-address-unusable": Reason(
        "No mail can be sent to “{to}”.",
        "Mend the address where it came from; a mail that is made afterwards takes the new one.",
    ),
    "mail-server-unreachable": Reason(
        "The mail server {server} can't be used: {why}.",
        "We try again by ourselves. If this goes on, look at TAGWARDEN_SMTP_URL and at the mail server.",
    ),
    "mail-server-busy": Reason(
        "The mail server {server} asked us to come again later: {why}",
        "We try again by ourselves.",
    ),
    "mail-login-refused": Reason(
        "The mail server {server} refused our log-in: {why}",
        "Mend user and password in TAGWARDEN_SMTP_URL, start the server again, then redeliver.",
    ),
    "mail-refused": Reason(
        "The mail server {server} refused the mail: {why}",
        "Look at the mail's address and at the site's sender. If the cause is gone, redeliver.",
    ),
    "mail-unknown": Reason(
        "The mail may have left: its sending was cut off before the mail server's answer came.",
        "Ask whether it came. To redeliver sends it again.",
    ),
    "connection-off": Reason(
        "The connection this call belongs to is switched off.",
        "Switch it on again, then redeliver.",
    ),
    "connection-broken": Reason(
        "The connection this call belongs to can't be used: {why}",
        "Mend the connection, then redeliver.",
    ),
    "operation-gone": Reason(
        "This version of Tagwarden has no command {command}.",
        "Redeliver it with a version that has it.",
    ),
    "crm-link-lost": Reason(
        "{crm} doesn't take our link any more: its tokens were revoked or used up.",
        "Connect {crm} anew and give this connection the new credentials, then redeliver.",
    ),
    "crm-token-renewing": Reason(
        "Somebody else is renewing the CRM's token and takes long over it.",
        "We try again by ourselves in a few seconds.",
    ),
    "crm-cannot": Reason(
        "{crm} can't do that: {what}",
        "The page of this CRM in the documentation says what to do instead.",
    ),
    "sweep-stopped": Reason(
        "{lose} members would have lost a tag, more than {allowed}. Nothing was taken away.",
        "Look at the drift check: if the CRM is right, take the tags away there; if not, dismiss it.",
    ),
    "sweep-dismissed": Reason(
        "Staff looked at this drift check and dismissed it. Nothing was taken away.",
        "The next one looks again.",
    ),
    "sweep-over": Reason(
        "This drift check is over, or has gone on without this step.",
        "Nothing needs to be done.",
    ),
    "hook-not-understood": Reason(
        "This hook of {crm} can't be read.",
        "The call is kept. If it should be read, redeliver it after an upgrade.",
    ),
    "hook-only-tried": Reason(
        "{crm} only tried the address of this hook.",
        "There is nothing to do.",
    ),
    "hook-without-contact": Reason(
        "This hook of {crm} named no contact, so there was nothing to do.",
        "If it should have, look in {crm} at what sets it off.",
    ),
    "hook-secret-revoked": Reason(
        "The secret in the address of the hook for the tag {tag} was revoked, so its calls are refused.",
        "Remove the trigger, or add it again: `tagwarden connection trigger list` shows it.",
    ),
    "told-before": Reason(
        "{crm} told of this before, and the command changes something by an amount, so it wasn't run twice.",
        "If it is another wish after all, redeliver it.",
    ),
    "signature-wrong": Reason(
        "The call's signature doesn't fit, so it may not come from {crm}.",
        "Make the hook again from the connection's page.",
    ),
}


def title(code: str, detail: Mapping[str, object] | None = None) -> str:
    """What happened, as a sentence."""
    return REASONS[code].title.format_map(_Gaps(detail or {}))


def advice(code: str, detail: Mapping[str, object] | None = None) -> str:
    """What to do, as a sentence."""
    return REASONS[code].help.format_map(_Gaps(detail or {}))
