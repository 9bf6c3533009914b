"""An identity provider of pysaml2's and xmlsec1's, which also signs what none should and changes what it
has signed. Reads a line of JSON for each response that is wanted and answers with a line of JSON."""

import base64
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile

from saml2.config import IdPConfig
from saml2.saml import NAMEID_FORMAT_UNSPECIFIED, NameID
from saml2.server import Server

DIRECTORY, ENTITY, AUDIENCE, CONSUMER = sys.argv[1:5]
KEY, CERTIFICATE = os.path.join(DIRECTORY, "idp.key"), os.path.join(DIRECTORY, "idp.crt")
OTHER_KEY = os.path.join(DIRECTORY, "other.key")
DS = "http://www.w3.org/2000/09/xmldsig#"
MORE = "http://www.w3.org/2001/04/xmldsig-more#"
ENC = "http://www.w3.org/2001/04/xmlenc#"
EXC = "http://www.w3.org/2001/10/xml-exc-c14n#"
SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
ASSERTION = SAML + ":Assertion"
RESPONSE = "urn:oasis:names:tc:SAML:2.0:protocol:Response"

CONFIG = {
    "entityid": ENTITY,
    "service": {"idp": {
        "endpoints": {"single_sign_on_service": [("https://idp.example/sso", "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect")]},
        "policy": {"default": {"lifetime": {"minutes": 5}, "name_form": "urn:oasis:names:tc:SAML:2.0:attrname-format:unspecified"}},
    }},
    "metadata": {"inline": [
        '<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="%s"><md:SPSSODescriptor '
        'protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><md:AssertionConsumerService index="0" '
        'Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="%s"/></md:SPSSODescriptor>'
        '</md:EntityDescriptor>' % (name, CONSUMER) for name in (AUDIENCE, "urn:other")]},
    "key_file": KEY,
    "cert_file": CERTIFICATE,
    "xmlsec_binary": "/usr/bin/xmlsec1",
}
server = Server(config=IdPConfig().load(CONFIG))


def made(request, subject="anna", audience=AUDIENCE, sign=True, whole=False):
    """As pysaml2 makes it."""
    response = server.create_authn_response(
        {"groups": ["data-agents"], "environment": ["production"]},
        request, CONSUMER, audience,
        name_id=NameID(format=NAMEID_FORMAT_UNSPECIFIED, text=subject),
        authn={"class_ref": "urn:oasis:names:tc:SAML:2.0:ac:classes:Password", "authn_auth": "https://idp.example"},
        sign_assertion=sign, sign_response=whole, encrypt_assertion=False,
        sign_alg=MORE + "rsa-sha256", digest_alg=ENC + "sha256",
    )
    return re.sub(r"^<\?xml[^>]*\?>\s*", "", str(response))


def one(pattern, text):
    return re.search(pattern, text, re.S).group(0)


def assertion_of(text):
    return one(r"<(\w+:)Assertion\b.*</\1Assertion>", text)


def signature_of(text):
    return one(r"<(\w+:)Signature\b.*?</\1Signature>", text)


def id_of(text):
    return re.search(r'\bID="([^"]*)"', text).group(1)


def shifted(text, pattern, seconds):
    """With all instants of some attributes moved."""
    def move(found):
        at = datetime.datetime.strptime(found.group(2), "%Y-%m-%dT%H:%M:%SZ")
        at += datetime.timedelta(seconds=seconds)
        return found.group(1) + at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return re.sub(r'\b((?:%s)=")([^"]*)' % pattern, move, text)


def signed(text, key=KEY, method=MORE + "rsa-sha256", digest=ENC + "sha256", canonical=EXC,
           transforms=(DS + "enveloped-signature", EXC), uri=None, references=1, key_info=""):
    """With a signature by xmlsec1 of just this form, behind the issuer of its element."""
    element = assertion_of(text)
    uri = "#" + id_of(element) if uri is None else uri
    steps = "".join('<ds:Transform Algorithm="%s"/>' % it if "<" not in it else it for it in transforms)
    reference = ('<ds:Reference URI="%s"><ds:Transforms>%s</ds:Transforms><ds:DigestMethod Algorithm="%s"/>'
                 "<ds:DigestValue/></ds:Reference>") % (uri, steps, digest)
    template = ('<ds:Signature xmlns:ds="%s"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="%s"/>'
                '<ds:SignatureMethod Algorithm="%s"/>%s</ds:SignedInfo><ds:SignatureValue/>%s</ds:Signature>'
                ) % (DS, canonical, method, reference * references, key_info)
    placed = re.sub(r"(<(\w+:)Issuer\b.*?</\2Issuer>)", lambda it: it.group(1) + template, element, count=1, flags=re.S)
    whole = text.replace(element, placed, 1)
    with tempfile.NamedTemporaryFile("w", suffix=".xml", dir=DIRECTORY) as file:
        file.write(whole)
        file.flush()
        out = subprocess.run(
            ["/usr/bin/xmlsec1", "--sign", *(["--hmackey", CERTIFICATE] if "hmac" in method else ["--privkey-pem", key]),
             "--id-attr:ID", ASSERTION, "--id-attr:ID", RESPONSE, file.name],
            capture_output=True, text=True)
    if out.returncode != 0:
        raise RuntimeError(out.stderr)
    return re.sub(r"^<\?xml[^>]*\?>\s*", "", out.stdout)


def wrapped(kind, right):
    """The known ways to wrap a signature (Somorovsky and others, 2012), and some that came later."""
    whole = assertion_of(right)
    signature = signature_of(whole)
    bare = whole.replace(signature, "", 1)
    evil = bare.replace(id_of(bare), "_evil").replace(">anna<", ">admin<")
    opening, rest = re.match(r"(<[^>]*>.*?</\w+:Issuer>)(.*)", evil, re.S).groups()
    into = lambda inner: opening + inner + rest
    prefix = re.match(r"<(\w+:)", signature).group(1)
    close = "</%sSignature>" % prefix
    in_object = lambda inner: signature.replace(close, "<%sObject>%s</%sObject>%s" % (prefix, inner, prefix, close), 1)
    extensions = lambda inner: '<e:Extensions xmlns:e="urn:oasis:names:tc:SAML:2.0:protocol">%s</e:Extensions>' % inner
    put = lambda text: right.replace(whole, text, 1)
    outer = right.replace(whole, evil, 1)
    after_issuer = lambda text, inner: re.sub(r"(</\w+:Issuer>)", lambda it: it.group(1) + inner, text, count=1)
    original = right.replace(signature, "", 1)
    return {
        "xsw1": lambda: after_issuer(outer, in_object(original)),
        "xsw2": lambda: after_issuer(outer, original + signature),
        "xsw3": lambda: put(evil + whole),
        "xsw4": lambda: put(into(whole)),
        "xsw5": lambda: put(into(signature) + bare),
        "xsw6": lambda: put(into(signature.replace(close, bare + close, 1))),
        "xsw7": lambda: put(extensions(whole) + evil),
        "xsw8": lambda: put(into(in_object(bare))),
        "xsw last": lambda: put(whole + evil),
        "xsw same id": lambda: put(whole + evil.replace("_evil", id_of(bare))),
        "xsw advice": lambda: put(into("<a:Advice xmlns:a=\"%s\">%s</a:Advice>" % (SAML, whole))),
        "xsw renamed": lambda: put(evil + whole.replace("Assertion", "Anything")),
        "xsw moved signature": lambda: put(into(signature)),
    }[kind]()


def forged(kind, request):
    plain = lambda: made(request, sign=False)
    right = lambda: made(request)
    if kind.startswith("xsw"):
        return wrapped(kind, right())
    x509 = "<ds:KeyInfo><ds:KeyValue/></ds:KeyInfo>"
    hmac = MORE + "hmac-sha256"
    return {
        # Right ones: what follows is refused for what it is, and for nothing else.
        "right": right,
        "right by xmlsec1": lambda: signed(plain()),
        "right and the response too": lambda: made(request, whole=True),
        "right with sha512": lambda: signed(plain(), method=MORE + "rsa-sha512", digest=ENC + "sha512"),
        "right with prefixes": lambda: signed(plain(), transforms=(
            DS + "enveloped-signature",
            '<ds:Transform Algorithm="%s"><ec:InclusiveNamespaces xmlns:ec="%s" PrefixList="xs xsi"/></ds:Transform>' % (EXC, EXC))),
        "right with spaces": lambda: signed(re.sub(r"(</\w+:(?:Issuer|Subject|Conditions|Attribute)>)", r"\1\n\t ", plain())),
        # Signatures.
        "unsigned": plain,
        "only the response is signed": lambda: made(request, sign=False, whole=True),
        "signed response, another assertion": lambda: made(request, whole=True, sign=False).replace(">anna<", ">admin<"),
        "changed": lambda: right().replace(">anna<", ">admin<"),
        "changed group": lambda: right().replace(">data-agents<", ">admins<"),
        "by another key": lambda: signed(plain(), key=OTHER_KEY),
        "by another key that comes along": lambda: signed(plain(), key=OTHER_KEY, key_info=x509),
        "rsa-sha1": lambda: signed(plain(), method=DS + "rsa-sha1"),
        "digest sha1": lambda: signed(plain(), digest=DS + "sha1"),
        "hmac by the certificate": lambda: signed(plain(), method=hmac),
        "algorithm swapped to hmac": lambda: right().replace(MORE + "rsa-sha256", hmac),
        "algorithm none": lambda: right().replace(MORE + "rsa-sha256", "none"),
        "two references": lambda: signed(plain(), references=2),
        "reference to the document": lambda: signed(plain(), uri=""),
        "inclusive canonicalization": lambda: signed(plain(), canonical="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"),
        "with comments": lambda: signed(plain(), canonical=EXC + "WithComments"),
        "transform with comments": lambda: signed(plain(), transforms=(DS + "enveloped-signature", EXC + "WithComments")),
        "one transform": lambda: signed(plain(), transforms=(DS + "enveloped-signature",)),
        "xpath": lambda: signed(plain(), transforms=(
            DS + "enveloped-signature",
            '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"><ds:XPath>not(ancestor-or-self::ds:KeyInfo)</ds:XPath></ds:Transform>', EXC)),
        # Names and markup.
        "comment in a name": lambda: right().replace(">anna<", ">an<!-- -->na<"),
        "comment that cuts a name": lambda: made(request, subject="anna.evil").replace(">anna.evil<", ">anna<!---->.evil<"),
        "cdata": lambda: right().replace(">anna<", "><![CDATA[anna]]><"),
        "instruction": lambda: right().replace(">anna<", ">anna<?x y?><"),
        "dtd": lambda: "<!DOCTYPE x>" + right(),
        "entity": lambda: '<!DOCTYPE x [<!ENTITY a "anna">]>' + right().replace(">anna<", ">&a;<"),
        "external entity": lambda: '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + right().replace(">anna<", ">&a;<"),
        "bomb": lambda: "<!DOCTYPE x [<!ENTITY a0 \"aaaaaaaaaa\">%s]>" % "".join(
            '<!ENTITY a%d "%s">' % (n, ("&a%d;" % (n - 1)) * 10) for n in range(1, 12)) + right().replace(">anna<", ">&a11;<"),
        # Times, and for whom it is.
        "expired": lambda: signed(shifted(plain(), "NotOnOrAfter", -400)),
        "not yet valid": lambda: signed(shifted(plain(), "NotBefore", 120)),
        "issued later": lambda: signed(shifted(plain(), "IssueInstant", 120)),
        "good for days": lambda: signed(shifted(plain(), "NotOnOrAfter", 3 * 86400)),
        "without an end": lambda: signed(re.sub(r'NotOnOrAfter="[^"]*"', "", plain())),
        "another audience": lambda: made(request, audience="urn:other"),
        "without an audience": lambda: signed(re.sub(r"<(\w+:)AudienceRestriction>.*?</\1AudienceRestriction>", "", plain(), flags=re.S)),
        "another recipient": lambda: signed(re.sub(r'Recipient="[^"]*"', 'Recipient="https://other.example"', plain())),
        "another destination": lambda: right().replace('Destination="%s"' % CONSUMER, 'Destination="https://other.example"'),
        "another request around": lambda: re.sub(r'InResponseTo="[^"]*"', 'InResponseTo="_other"', right(), count=1),
        "no request": lambda: signed(re.sub(r'InResponseTo="[^"]*"', "", plain())),
        "another issuer": lambda: signed(plain().replace(">%s<" % ENTITY, ">https://other.example<")),
        "another issuer of the assertion": lambda: signed(re.sub(
            r"(<\w+:Assertion\b.*?>)" + re.escape(ENTITY) + "<", r"\1https://other.example<", plain(), count=1, flags=re.S)),
        "failed": lambda: right().replace("status:Success", "status:Responder"),
        "transient": lambda: signed(plain().replace(NAMEID_FORMAT_UNSPECIFIED, "urn:oasis:names:tc:SAML:2.0:nameid-format:transient")),
        "encrypted": lambda: re.sub(
            r"<(\w+:)Assertion\b.*</\1Assertion>", r'<\1EncryptedAssertion/>', right(), flags=re.S),
    }[kind]()


for line in sys.stdin:
    wanted = json.loads(line)
    try:
        text = forged(wanted["kind"], wanted.get("request", "_request"))
        answer = {"response": base64.b64encode(text.encode()).decode()}
    except Exception as error:  # The test says what it got instead.
        answer = {"error": repr(error)[:2000]}
    print(json.dumps(answer), flush=True)
