"""Sites, the people who can sign in, and what staff did."""

import uuid
from typing import ClassVar
from zoneinfo import ZoneInfo

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models.functions import Lower

from tagwarden.core import options


class Site(models.Model):
    """One membership business. Every link is made from `public_url`, never from the Host header."""

    name = models.CharField(max_length=120)
    host = models.CharField(max_length=253, unique=True)  # lower case, without port
    public_url = models.CharField(max_length=300)
    timezone = models.CharField(max_length=64, default="UTC")
    currency = models.CharField(max_length=3, default="USD")
    mail_from = models.EmailField(blank=True)
    options_json = models.TextField(default="{}")
    created = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name

    @property
    def options(self) -> options.SiteOptions:
        return options.load(options.SiteOptions, self.options_json)

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


class Accounts(BaseUserManager["Account"]):
    """Makes accounts; e-mails are kept as given and compared without case."""

    def create(self, **values: object) -> "Account":
        account = self.model(**values)
        if not account.password:
            account.set_unusable_password()
        account.save(using=self._db, force_insert=True)
        return account


def new_login() -> str:
    return uuid.uuid4().hex


class Account(AbstractBaseUser):
    """A person who can sign in on one site, or an operator (no site).

    The same e-mail on two sites is two people. `login` is opaque and never shown.
    """

    class Role(models.TextChoices):
        MEMBER = "member"
        STAFF = "staff"
        OWNER = "owner"
        OPERATOR = "operator"

    id = models.BigAutoField(primary_key=True)
    login = models.CharField(max_length=32, unique=True, default=new_login)
    site = models.ForeignKey(Site, null=True, on_delete=models.PROTECT, related_name="accounts")
    email = models.EmailField(max_length=254)
    first_name = models.CharField(max_length=120, blank=True)
    last_name = models.CharField(max_length=120, blank=True)
    role = models.CharField(max_length=8, choices=Role, default=Role.MEMBER)
    is_active = models.BooleanField(default=True)
    created = models.DateTimeField(auto_now_add=True)

    USERNAME_FIELD = "login"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["email"]
    objects = Accounts()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint("site", Lower("email"), name="one_account_per_site_and_email"),
            models.UniqueConstraint(
                Lower("email"), name="one_operator_per_email", condition=models.Q(site__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip() or self.email

    @property
    def is_staff_member(self) -> bool:
        return self.role in {self.Role.STAFF, self.Role.OWNER, self.Role.OPERATOR}


class SignInLink(models.Model):
    """A single-use link that signs somebody in. Only its digest is kept."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE)
    digest = models.CharField(max_length=64, unique=True)
    expires = models.DateTimeField()
    used = models.DateTimeField(null=True)


class AuditEntry(models.Model):
    """What somebody did by hand, for as long as the site exists."""

    site = models.ForeignKey(Site, null=True, on_delete=models.PROTECT)
    account = models.ForeignKey(Account, null=True, on_delete=models.SET_NULL)
    at = models.DateTimeField(auto_now_add=True)
    action = models.CharField(max_length=60)
    subject = models.CharField(max_length=120)
    detail = models.JSONField(default=dict)
