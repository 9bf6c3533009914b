"""Logs in by OAUTHBEARER, as libpq 18 does it, with a token that a hook hands over; prints what the
hook was told and who came in. psycopg's own libpq is asked by ctypes: psycopg has no words for it.

Arguments: connection string, token.
"""

import ctypes
import pathlib
import sys

import psycopg
import psycopg_binary

BEARER_TOKEN = 1  # PGauthData: PQAUTHDATA_OAUTH_BEARER_TOKEN


class Request(ctypes.Structure):
    """PGoauthBearerRequest"""

    _fields_ = [
        ("openid_configuration", ctypes.c_char_p),
        ("scope", ctypes.c_char_p),
        ("async_", ctypes.c_void_p),
        ("cleanup", ctypes.c_void_p),
        ("token", ctypes.c_char_p),
        ("user", ctypes.c_void_p),
    ]


HOOK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(Request))

conninfo, token = sys.argv[1], sys.argv[2].encode()


def hand_over(kind, _connection, request):
    if kind != BEARER_TOKEN:
        return 0
    told = request.contents
    print("configuration", told.openid_configuration.decode())
    print("scope", (told.scope or b"").decode())
    told.token = token
    return 1


hook = HOOK(hand_over)
directory = pathlib.Path(psycopg_binary.__file__).parent.parent / "psycopg_binary.libs"
(library,) = directory.glob("libpq-*")
libpq = ctypes.CDLL(str(library))
libpq.PQsetAuthDataHook.argtypes = [HOOK]
libpq.PQsetAuthDataHook.restype = None
libpq.PQsetAuthDataHook(hook)

try:
    with psycopg.connect(conninfo) as connection:
        print("in", connection.execute("SELECT count(*) FROM items").fetchone()[0])
except psycopg.OperationalError as error:
    print("refused", str(error).strip())
