def test_people(alice, bob, charlie, connection):
    assert alice.site != charlie.site
    assert bob.contacts.get().connection == connection
