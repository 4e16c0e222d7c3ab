"""Which page answers which path. Webhooks never come here: rsgi.py hands them to the receiver."""

from django.urls import URLPattern, URLResolver, path

from tagwarden.portal import sign_in as member_sign_in
from tagwarden.staff import deliveries, delivery, member, members, release, releases, resume, sign_in, sweep, sweeps

urlpatterns: list[URLPattern | URLResolver] = [
    path("", member_sign_in.home, name="home"),
    path("sign-in/", member_sign_in.sign_in_page, name="member-sign-in"),
    path("sign-out/", member_sign_in.sign_out, name="member-sign-out"),
    path("sign-in/<str:token>/", sign_in.link_page, name="link"),
    path("staff/", sign_in.home, name="staff"),
    path("staff/sign-in/", sign_in.sign_in_page, name="sign-in"),
    path("staff/sign-out/", sign_in.sign_out, name="sign-out"),
    path("staff/appearance/", sign_in.appearance, name="appearance"),
    path("staff/resume/", resume.resume, name="resume"),
    path("staff/deliveries/", deliveries.deliveries, name="deliveries"),
    path("staff/deliveries/<str:number>/", delivery.delivery, name="delivery"),
    path("staff/deliveries/<str:number>/redeliver/", delivery.redeliver, name="redeliver"),
    path("staff/deliveries/<str:number>/redeliver-alike/", delivery.redeliver_alike, name="redeliver-alike"),
    path("staff/deliveries/<str:number>/run-again/", delivery.run_again, name="run-again"),
    path("staff/releases/", releases.releases, name="releases"),
    path("staff/releases/<str:slug>/", release.release, name="release"),
    path("staff/releases/<str:slug>/not-members/", release.not_members, name="not-members"),
    path("staff/releases/<str:slug>/redeliver/", release.redeliver, name="redeliver-release"),
    path("staff/drift-checks/", sweeps.sweeps, name="sweeps"),
    path("staff/drift-checks/<str:slug>/", sweep.sweep, name="sweep"),
    path("staff/drift-checks/<str:slug>/take-away/", sweep.approve, name="sweep-approve"),
    path("staff/drift-checks/<str:slug>/dismiss/", sweep.dismiss, name="sweep-dismiss"),
    path("staff/members/", members.members, name="members"),
    path("staff/members/<str:login>/", member.member, name="member"),
    path("staff/members/<str:login>/refresh/", member.refresh, name="refresh"),
]
