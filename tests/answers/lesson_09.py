"""Answers to lesson 09."""

import selectors
from contextlib import suppress

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

# ---------------------------------------------------------------------- 9a


def sends_until_it_blocks(selector, key, data):
    connection, unsent = key.fileobj, key.data
    unsent.extend(data)
    try:
        while unsent:
            del unsent[: connection.send(unsent)]
        selector.modify(connection, READ, unsent)
    except BlockingIOError:
        selector.modify(connection, WRITE, unsent)
    except OSError:
        selector.unregister(connection)
        connection.close()
        return False
    return True


def puts_a_new_buffer(selector, key, data):
    rest = bytes(key.data) + data
    try:
        sent = key.fileobj.send(rest) if rest else 0
    except BlockingIOError:
        sent = 0
    except ConnectionError:
        key.fileobj.close()
        selector.unregister(key.fileobj)
        return False
    rest = bytearray(rest[sent:])
    selector.modify(key.fileobj, WRITE if rest else READ, rest)
    return True


def in_small_pieces(selector, key, data):
    unsent = key.data
    unsent[len(unsent) :] = data
    events = READ
    with suppress(BlockingIOError):
        try:
            while piece := bytes(unsent[:1000]):
                events = WRITE
                sent = key.fileobj.send(piece)
                del unsent[0:sent]
                events = WRITE if unsent else READ
        except BlockingIOError:
            raise
        except OSError:
            selector.unregister(key.fileobj)
            key.fileobj.close()
            return False
    if events != key.events:
        selector.modify(key.fileobj, events, unsent)
    return True


def _lost(selector, key):
    selector.unregister(key.fileobj)
    key.fileobj.close()
    return False


def _writes(send=None, events=None, lost=_lost, keep=True, modify=None):
    """A right answer, but for one thing."""

    def write_side(selector, key, data):
        unsent = key.data
        unsent += data
        try:
            if unsent:
                if send is not None:
                    send(key.fileobj, unsent)
                else:
                    del unsent[: key.fileobj.send(unsent)]
        except BlockingIOError:
            pass
        except OSError:
            return lost(selector, key)
        if not keep:
            unsent.clear()
        now = (WRITE if unsent else READ) if events is None else events(unsent)
        if modify is not None:
            modify(selector, key, now)
        else:
            selector.modify(key.fileobj, now, unsent)
        return True

    return write_side


def _sends_all_and_clears(connection, unsent):
    connection.sendall(unsent)
    unsent.clear()


def _sends_all_and_waits(connection, unsent):
    connection.setblocking(True)
    connection.sendall(unsent)
    connection.setblocking(False)
    unsent.clear()


def _leaves_it_blocking(connection, unsent):
    connection.setblocking(True)
    connection.settimeout(0.01)
    with suppress(TimeoutError):
        del unsent[: connection.send(unsent)]


def _does_not_delete(connection, unsent):
    connection.send(unsent)


def _deletes_one_too_many(connection, unsent):
    del unsent[: connection.send(unsent) + 1]


def _raises(selector, key):
    raise


def _only_unregisters(selector, key):
    selector.unregister(key.fileobj)
    return False


def _only_closes(selector, key):
    key.fileobj.close()
    return False


def _returns_none(selector, key):
    _lost(selector, key)


def lets_it_block(selector, key, data):
    unsent = key.data
    unsent += data
    try:
        if unsent:
            del unsent[: key.fileobj.send(unsent)]
    except OSError:
        return _lost(selector, key)
    selector.modify(key.fileobj, WRITE if unsent else READ, unsent)
    return True


def lets_blocking_out(selector, key, data):
    unsent = key.data
    unsent += data
    while unsent:
        del unsent[: key.fileobj.send(unsent)]
    selector.modify(key.fileobj, READ, unsent)
    return True


def watches_as_before_when_nothing_goes(selector, key, data):
    unsent = key.data
    unsent += data
    try:
        if unsent:
            del unsent[: key.fileobj.send(unsent)]
        selector.modify(key.fileobj, WRITE if unsent else READ, unsent)
    except BlockingIOError:
        pass
    except OSError:
        return _lost(selector, key)
    return True


def returns_nothing(selector, key, data):
    sends_until_it_blocks(selector, key, data)


def new_before_old(selector, key, data):
    key.data[:0] = data
    return sends_until_it_blocks(selector, key, b"")


def sends_only_what_is_new(selector, key, data):
    unsent = key.data
    try:
        if data:
            sent = 0 if unsent else key.fileobj.send(data)
            unsent += data[sent:]
    except BlockingIOError:
        unsent += data
    except OSError:
        return _lost(selector, key)
    selector.modify(key.fileobj, WRITE if unsent else READ, unsent)
    return True


def sets_the_keys_data(selector, key, data):
    key.data = key.data + data


# ---------------------------------------------------------------------- 9b


def in_two_rounds(selector, now):
    calls = [(key.data, key.fileobj) for key in selector.get_map().values() if key.data is not None]
    for deadline, connection in calls:
        if now >= deadline:
            selector.unregister(connection)
            connection.close()
    rest = sorted(deadline for deadline, _ in calls if deadline > now)
    return rest[0] - now if rest else None


def with_a_dictionary(selector, now):
    keys = {key.fileobj: key.data for key in selector.get_map().values()}
    wait = None
    for connection, deadline in keys.items():
        if deadline is None:
            continue
        left = deadline - now
        if left <= 0:
            connection.close()
            selector.unregister(connection)
        elif wait is None or left < wait:
            wait = left
    return wait


def again_after_each(selector, now):
    for key in selector.get_map().values():
        if key.data is not None and key.data <= now:
            with key.fileobj:
                selector.unregister(key.fileobj)
            return again_after_each(selector, now)
    return min((key.data - now for key in selector.get_map().values() if key.data is not None), default=None)


def _late(late=lambda deadline, now: deadline <= now, none=None, end=None, left=lambda deadline, now: deadline - now):
    """A right answer, but for one thing."""

    def hang_up_late(selector, now):
        times = []
        for key in list(selector.get_map().values()):
            if key.data is None:
                continue
            if late(key.data, now):
                if end is not None:
                    end(selector, key.fileobj)
                else:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
            else:
                times.append(left(key.data, now))
        return min(times, default=none)

    return hang_up_late


def goes_through_the_map(selector, now):
    left = []
    for key in selector.get_map().values():
        if key.data is not None and key.data <= now:
            selector.unregister(key.fileobj)
            key.fileobj.close()
        elif key.data is not None:
            left.append(key.data - now)
    return min(left, default=None)


def takes_nought_for_none(selector, now):
    left = []
    for key in list(selector.get_map().values()):
        if key.data and key.data <= now:
            selector.unregister(key.fileobj)
            key.fileobj.close()
        elif key.data:
            left.append(key.data - now)
    return min(left, default=None)


def forgets_the_listener(selector, now):
    for key in list(selector.get_map().values()):
        if key.data <= now:
            selector.unregister(key.fileobj)
            key.fileobj.close()


def hangs_up_the_listener(selector, now):
    for key in list(selector.get_map().values()):
        if key.data is None or key.data <= now:
            selector.unregister(key.fileobj)
            key.fileobj.close()


def counts_the_late_too(selector, now):
    times = [key.data - now for key in selector.get_map().values() if key.data is not None]
    _late()(selector, now)
    return min(times, default=None)


def only_the_first(selector, now):
    for key in list(selector.get_map().values()):
        if key.data is not None and key.data <= now:
            selector.unregister(key.fileobj)
            key.fileobj.close()
            break
    return min((key.data - now for key in selector.get_map().values() if key.data is not None), default=None)


RIGHT = {
    "9a": [sends_until_it_blocks, puts_a_new_buffer, in_small_pieces],
    "9b": [in_two_rounds, with_a_dictionary, again_after_each],
}
WRONG = {
    "9a": [
        (_writes(send=_sends_all_and_clears), "does not say how much it had sent"),
        (_writes(send=_sends_all_and_waits), "The loop has others to serve"),
        (_writes(send=_leaves_it_blocking), "let the connection block"),
        (_writes(send=_does_not_delete), "was kept"),
        (_writes(send=_deletes_one_too_many), "no more and no less"),
        (_writes(keep=False), "kept nothing"),
        (_writes(events=lambda unsent: READ), "nobody watches for room"),
        (_writes(events=lambda unsent: WRITE), "again and again"),
        (_writes(events=lambda unsent: READ | WRITE if unsent else READ), "is read from all the same"),
        (_writes(modify=lambda selector, key, now: selector.modify(key.fileobj, now)), "modify() takes the data anew"),
        (_writes(lost=_raises), "the loop has others: unregister"),
        (_writes(lost=_only_unregisters), "left the connection open"),
        (_writes(lost=_only_closes), "still registered"),
        (_writes(lost=_returns_none), "the call is lost, and your function returned None"),
        (lets_it_block, "BlockingIOError, an OSError too, is no loss"),
        (watches_as_before_when_nothing_goes, "5 bytes are unsent, and nobody watches for room"),
        (lambda selector, key, data: key.fileobj.sendall(data) or True, "Use send(), which does"),
        (lets_blocking_out, "Nothing more goes now"),
        (returns_nothing, "the call stands, and your function returned None"),
        (new_before_old, "Answers go out in their order"),
        (sends_only_what_is_new, "key.data is as long as before"),
        (sets_the_keys_data, "can't set attribute"),
    ],
    "9b": [
        (_late(late=lambda deadline, now: deadline < now), "this very moment: the caller with"),
        (_late(none=0), "There is no next deadline"),
        (_late(end=lambda selector, connection: connection.close()), "was closed, and is still registered"),
        (_late(end=lambda selector, connection: selector.unregister(connection)), "was unregistered, and not closed"),
        (_late(left=lambda deadline, now: deadline), "the loop wakes too late"),
        (_late(left=lambda deadline, now: 0), "too early, again and again"),
        (_late(left=lambda deadline, now: str(deadline - now)), "Return seconds"),
        (_late(late=lambda deadline, now: deadline <= now + 4), "it is not late"),
        (goes_through_the_map, "go through list(...)"),
        (takes_nought_for_none, "A clock that has just begun"),
        (forgets_the_listener, "TypeError"),
        (hangs_up_the_listener, "hung up the listener"),
        (counts_the_late_too, "There is no next deadline"),
        (only_the_first, "is still on the line"),
        (lambda selector, now: _late()(selector, now) and None, "returned None: the loop would wait"),
    ],
}
