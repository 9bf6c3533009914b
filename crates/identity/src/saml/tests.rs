//! Each check violated once, by responses that are forged here; canonical text is compared with
//! libxml2's apart.

mod forge;
mod mutated;

use super::canonical::canonical;
use super::*;
use forge::*;

/// What the right response comes to.
fn right() -> Answer {
    let mut identity = Identity::new(ENTITY, "anna@corp.example");
    identity.groups = vec!["dba".to_owned(), "ops".to_owned()];
    identity.claims = [("env".to_owned(), "prod".to_owned())].into();
    Answer {
        identity,
        request: REQUEST.to_owned(),
        assertion: "_assertion".to_owned(),
        expires: NOW + 330,
        session_ends: Some(NOW + 3600),
    }
}

/// Identities compare by issuer and subject alone.
fn assert_right(answer: Result<Answer, SamlError>) {
    let (answer, right) = (answer.unwrap(), right());
    assert_eq!(answer, right);
    assert_eq!(answer.identity.groups, right.identity.groups);
    assert_eq!(answer.identity.claims, right.identity.claims);
}

#[test]
fn a_signed_assertion_proves_an_identity() {
    assert_right(forge().prove());
    assert_right(Forge { signer: &CURVE, ..forge() }.prove());
    // However it is written in the document: declarations elsewhere, other quotes, spaces in tags.
    let other = forge().response().replace("ID=\"_assertion\"", "ID = '_assertion' ");
    assert_right(prove(&format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{other}")));
    let elsewhere = forge().response().replacen(
        &format!("<saml:Assertion xmlns:saml=\"{SAML}\""),
        "<saml:Assertion xmlns:unused=\"urn:x\"",
        1,
    );
    assert_right(prove(&elsewhere));
    let encoded = STANDARD.encode(forge().response());
    let broken = encoded.as_bytes().chunks(76).map(|it| std::str::from_utf8(it).unwrap());
    let broken = broken.collect::<Vec<_>>().join("\r\n");
    assert_right(prove(&decode(&broken).unwrap()));
}

#[test]
fn a_response_may_be_signed_besides() {
    let signed = |assertion: &str| {
        let whole = around(assertion);
        let document = tree::parse(&whole).unwrap();
        let text = canonical(document.root_element(), None, &[]).unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        let own = forge().signature_of("_response", &STANDARD.encode(digest.as_ref()));
        whole.replacen("</saml:Issuer>", &format!("</saml:Issuer>{own}"), 1)
    };
    let right = signed(&forge().assertion());
    assert_right(prove(&right));
    // But rightly.
    let changed = right.replacen("ID=\"_response\"", "Consent=\"x\" ID=\"_response\"", 1);
    assert_eq!(prove(&changed), Err(SamlError::Digest));
    // And the assertion all the same.
    assert_eq!(prove(&signed(&forge().bare())), Err(SamlError::NotSigned));
}

#[test]
fn each_check_is_made() {
    let after = at(300);
    let data = format!("NotOnOrAfter=\"{after}\" Recipient");
    let whole = format!("NotBefore=\"{}\" NotOnOrAfter=\"{after}\"", at(-10));
    let condition = "</saml:AudienceRestriction>";
    for (from, to, expected) in [
        ("Audience>https://gate", "Audience>https://other".to_owned(), SamlError::Audience),
        ("saml</saml:Audience>", "saml </saml:Audience>".to_owned(), SamlError::Audience),
        (
            condition,
            format!(
                "{condition}<saml:AudienceRestriction><saml:Audience>urn:x</saml:Audience>{condition}"
            ),
            SamlError::Audience,
        ),
        (condition, format!("{condition}<saml:Other></saml:Other>"), SamlError::Condition),
        (CONSUMER, "https://gate.example/saml/other".to_owned(), SamlError::Recipient),
        ("cm:bearer", "cm:sender-vouches".to_owned(), SamlError::Recipient),
        ("InResponseTo=\"_request\" ", String::new(), SamlError::InResponseTo),
        (
            "InResponseTo=\"_request\"",
            "InResponseTo=\"_other\"".to_owned(),
            SamlError::InResponseTo,
        ),
        (&data, "Recipient".to_owned(), SamlError::NoEnd),
        (&data, format!("NotOnOrAfter=\"{}\" Recipient", at(-30)), SamlError::Expired),
        (&data, format!("NotOnOrAfter=\"{}\" Recipient", at(24 * 3600 + 1)), SamlError::NoEnd),
        (&data, "NotOnOrAfter=\"tomorrow\" Recipient".to_owned(), SamlError::Assertion),
        (&whole, format!("NotBefore=\"{}\"", at(31)), SamlError::NotYet),
        (&whole, format!("NotOnOrAfter=\"{}\"", at(-30)), SamlError::Expired),
        (
            "nameid-format:emailAddress",
            "nameid-format:emailAddress\" SPNameQualifier=\"urn:x".to_owned(),
            SamlError::Subject,
        ),
        (
            "nameid-format:emailAddress",
            "nameid-format:emailAddress\" NameQualifier=\"urn:x".to_owned(),
            SamlError::Subject,
        ),
        (
            "1.1:nameid-format:emailAddress",
            "2.0:nameid-format:transient".to_owned(),
            SamlError::Subject,
        ),
        ("anna@corp.example", String::new(), SamlError::Subject),
        ("anna@corp.example", "anna\tcorp".to_owned(), SamlError::Subject),
        ("anna@corp.example", "a".repeat(1025), SamlError::Subject),
        ("anna@corp.example", "anna<saml:x></saml:x>@corp".to_owned(), SamlError::Subject),
        ("dba", "d".repeat(1025), SamlError::Groups),
        ("dba", "d<saml:x></saml:x>".to_owned(), SamlError::Groups),
        (
            "prod</saml:AttributeValue>",
            "prod</saml:AttributeValue><saml:AttributeValue>x</saml:AttributeValue>".to_owned(),
            SamlError::Attribute,
        ),
        ("prod", "p<saml:x></saml:x>".to_owned(), SamlError::Attribute),
        (
            "Name=\"urn:env\"",
            format!("Name=\"{}\"", "http://schemas.microsoft.com/claims/groups.link"),
            SamlError::Groups,
        ),
        (
            "saml:AuthnStatement AuthnInstant",
            "saml:Other AuthnInstant".to_owned(),
            SamlError::Assertion,
        ),
    ] {
        let mut forged = forge().body(from, &to);
        if to.starts_with("saml:Other") {
            forged = forged.body("</saml:AuthnStatement>", "</saml:Other>");
        }
        assert_eq!(forged.prove(), Err(expected), "{from} -> {to:.80}");
    }
    // At each bound, and one past it.
    assert!(
        forge().body(&data, &format!("NotOnOrAfter=\"{}\" Recipient", at(-29))).prove().is_ok()
    );
    assert!(forge().body(&whole, &format!("NotBefore=\"{}\"", at(30))).prove().is_ok());
    assert!(Forge { issued: 30, ..forge() }.prove().is_ok());
    assert_eq!(Forge { issued: 31, ..forge() }.prove(), Err(SamlError::NotYet));
    let other = Forge { issuer: "https://other.example", ..forge() };
    assert_eq!(other.prove(), Err(SamlError::Issuer));
    assert_eq!(forge().body(&at(3600), &at(0)).prove(), Err(SamlError::Expired));
    assert_eq!(Forge { id: "", ..forge() }.prove(), Err(SamlError::SignatureForm));
    let second = "<saml:SubjectConfirmation Method=\"urn:oasis:names:tc:SAML:2.0:cm:bearer\">\
                  </saml:SubjectConfirmation></saml:Subject>";
    assert_eq!(forge().body("</saml:Subject>", second).prove(), Err(SamlError::Recipient));
    let twice = "</saml:Subject><saml:Subject></saml:Subject>";
    assert_eq!(forge().body("</saml:Subject>", twice).prove(), Err(SamlError::Subject));
}

/// The envelope is signed by nobody, so it can only be a reason to refuse.
#[test]
fn the_envelope_can_only_refuse() {
    let right = forge().response();
    for (from, to, expected) in [
        ("Destination=\"https://gate.example/saml/acs\"", "", SamlError::Destination),
        ("Destination=\"https://gate", "Destination=\"https://other", SamlError::Destination),
        ("InResponseTo=\"_request\">", "InResponseTo=\"_other\">", SamlError::InResponseTo),
        ("status:Success", "status:Requester", SamlError::Failed),
        ("Version=\"2.0\" IssueInstant", "Version=\"1.1\" IssueInstant", SamlError::NotAResponse),
        ("<saml:Issuer>https://idp", "<saml:Issuer>https://other", SamlError::Issuer),
        ("</samlp:Status>", "</samlp:Status><samlp:Extensions/>", SamlError::NotAResponse),
        ("</samlp:Status>", "</samlp:Status><samlp:Status/>", SamlError::NotAResponse),
        ("</samlp:Status>", "</samlp:Status><saml:EncryptedAssertion/>", SamlError::Encrypted),
        ("ID=\"_response\"", "ID=\"_assertion\"", SamlError::DoubledId),
        ("ID=\"_response\"", "ID=\"_response\" saml:id=\"_assertion\"", SamlError::DoubledId),
    ] {
        let wrong = right.replacen(from, to, 1);
        assert_ne!(wrong, right, "{from}");
        assert_eq!(prove(&wrong), Err(expected), "{from} -> {to}");
    }
    let protocol = "urn:oasis:names:tc:SAML:2.0:protocol";
    assert_eq!(prove(&right.replacen(protocol, "urn:x", 1)), Err(SamlError::NotAResponse));
    assert_eq!(prove(&forge().assertion()), Err(SamlError::NotAResponse));
    let request = right.replace("samlp:Response", "samlp:LogoutResponse");
    assert_eq!(prove(&request), Err(SamlError::NotAResponse));
}

#[test]
fn only_this_form_of_signature_is_taken() {
    let unsigned = forge();
    assert_eq!(prove(&around(&unsigned.bare())), Err(SamlError::NotSigned));
    assert_eq!(Forge { signer: &STRANGER, ..forge() }.prove(), Err(SamlError::Signature));
    let own_key = "<ds:KeyInfo><ds:KeyValue>of my own</ds:KeyValue></ds:KeyInfo>";
    let by_stranger = Forge { signer: &STRANGER, key_info: own_key, ..forge() };
    assert_eq!(by_stranger.prove(), Err(SamlError::Signature));
    // What stands in KeyInfo is not looked at.
    assert_right(Forge { key_info: own_key, ..forge() }.prove());
    let object = "<ds:Object>x</ds:Object>";
    assert_eq!(Forge { key_info: object, ..forge() }.prove(), Err(SamlError::SignatureForm));

    let exclusive = "http://www.w3.org/2001/10/xml-exc-c14n#\"></ds:Transform>";
    let reference = "<ds:Reference URI=\"#_assertion\">";
    let sha256 = "http://www.w3.org/2001/04/xmlenc#sha256";
    let method = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
    for (from, to, expected) in [
        (method, "http://www.w3.org/2000/09/xmldsig#rsa-sha1", SamlError::Algorithm),
        (method, "http://www.w3.org/2000/09/xmldsig#hmac-sha1", SamlError::Algorithm),
        (method, "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256", SamlError::Algorithm),
        (method, "http://www.w3.org/2000/09/xmldsig#dsa-sha1", SamlError::Algorithm),
        (method, "", SamlError::Algorithm),
        (method, "none", SamlError::Algorithm),
        (method, "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256", SamlError::Signature),
        (method, "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512", SamlError::Signature),
        (sha256, "http://www.w3.org/2000/09/xmldsig#sha1", SamlError::Algorithm),
        (sha256, "http://www.w3.org/2001/04/xmlenc#sha512", SamlError::Digest),
        (
            "</ds:SignatureMethod>",
            "<ds:HMACOutputLength>8</ds:HMACOutputLength></ds:SignatureMethod>",
            SamlError::SignatureForm,
        ),
        ("</ds:DigestMethod>", "<ds:x></ds:x></ds:DigestMethod>", SamlError::SignatureForm),
        (
            "xml-exc-c14n#\"></ds:CanonicalizationMethod>",
            "xml-exc-c14n#WithComments\"></ds:CanonicalizationMethod>",
            SamlError::SignatureForm,
        ),
        (
            "http://www.w3.org/2001/10/xml-exc-c14n#\"></ds:CanonicalizationMethod>",
            "http://www.w3.org/TR/2001/REC-xml-c14n-20010315\"></ds:CanonicalizationMethod>",
            SamlError::SignatureForm,
        ),
        (
            exclusive,
            "http://www.w3.org/TR/1999/REC-xslt-19991116\"></ds:Transform>",
            SamlError::SignatureForm,
        ),
        (
            exclusive,
            "http://www.w3.org/TR/1999/REC-xpath-19991116\"></ds:Transform>",
            SamlError::SignatureForm,
        ),
        (
            exclusive,
            "http://www.w3.org/2000/09/xmldsig#base64\"></ds:Transform>",
            SamlError::SignatureForm,
        ),
        (
            "#enveloped-signature\"></ds:Transform>",
            "#enveloped-signature\"></ds:Transform><ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xpath-19991116\"></ds:Transform>",
            SamlError::SignatureForm,
        ),
        (
            "#enveloped-signature\"></ds:Transform>",
            "#enveloped-signature\"><ds:XPath>x</ds:XPath></ds:Transform>",
            SamlError::SignatureForm,
        ),
        (reference, "<ds:Reference URI=\"\">", SamlError::SignatureForm),
        (reference, "<ds:Reference>", SamlError::SignatureForm),
        (reference, "<ds:Reference URI=\"#_other\">", SamlError::SignatureForm),
        (reference, "<ds:Reference URI=\"#xpointer(id('_assertion'))\">", SamlError::SignatureForm),
        (
            reference,
            "<ds:Reference URI=\"http://evil.example/#_assertion\">",
            SamlError::SignatureForm,
        ),
        (
            "</ds:Reference>",
            "</ds:Reference><ds:Reference URI=\"#_x\"></ds:Reference>",
            SamlError::SignatureForm,
        ),
        (
            "<ds:Reference URI",
            "<ds:Manifest></ds:Manifest><ds:Reference URI",
            SamlError::SignatureForm,
        ),
    ] {
        assert_eq!(forge().info(from, to).prove(), Err(expected), "{from} -> {to}");
    }
    // Prefixes that are declared without being used have to be those that were signed.
    let listed = "http://www.w3.org/2001/10/xml-exc-c14n#\"><ec:InclusiveNamespaces \
                  xmlns:ec=\"http://www.w3.org/2001/10/xml-exc-c14n#\" PrefixList=\"saml xs\">\
                  </ec:InclusiveNamespaces></ds:Transform>";
    assert_right(forge().info(exclusive, listed).prove());
    let default = listed.replace("saml xs", "#default");
    assert_eq!(forge().info(exclusive, &default).prove(), Err(SamlError::SignatureForm));
    let samlp = listed.replace("saml xs", "samlp");
    assert_eq!(forge().info(exclusive, &samlp).prove(), Err(SamlError::Digest));
    // Outside of what was signed nothing can be changed.
    let right = forge().response();
    let digest = right.split_once("<ds:DigestValue>").unwrap().1;
    let changed = right.replacen(digest.split_at(4).0, "AAAA", 1);
    assert_eq!(prove(&changed), Err(SamlError::Signature));
    let twice = right.replacen(
        "<ds:SignatureValue>",
        "<ds:SignatureValue>AAAA</ds:SignatureValue><ds:SignatureValue>",
        1,
    );
    assert_eq!(prove(&twice), Err(SamlError::SignatureForm));
    let two = right.replacen(
        "</saml:Issuer><ds:Signature",
        &format!("</saml:Issuer>{}<ds:Signature", forge().signature()),
        1,
    );
    assert!(prove(&two).is_err());
}

/// Signature wrapping: the signed assertion is moved somewhere, one of the attacker's takes its place.
#[test]
fn wrapped_signatures_prove_nothing() {
    let signed = forge();
    let evil = Forge { id: "_evil", ..forge() }.body("anna@corp.example", "admin@corp.example");
    let same = Forge { id: "_assertion", ..evil.clone() };
    let (whole, bare, signature) = (signed.assertion(), signed.bare(), signed.signature());
    let into = |outer: &Forge, inner: &str| {
        format!("{}{inner}{}</saml:Assertion>", outer.head(), outer.body)
    };
    let with_object = |content: &str| {
        signature.replacen(
            "</ds:Signature>",
            &format!("<ds:Object>{content}</ds:Object></ds:Signature>"),
            1,
        )
    };
    let extensions = |inner: &str| format!("<samlp:Extensions>{inner}</samlp:Extensions>");
    let response_in = |inner: &str| {
        around(&evil.bare()).replacen("</saml:Issuer>", &format!("</saml:Issuer>{inner}"), 1)
    };
    for (number, wrapped) in [
        // 1 and 2: about the response, detached or around it.
        (
            1,
            response_in(&signature.replacen(
                "</ds:Signature>",
                &format!("{}</ds:Signature>", around(&whole)),
                1,
            )),
        ),
        (2, response_in(&format!("{}{signature}", around(&bare)))),
        // 3: before; 4: around; 5: the signature in the evil one, the original behind it.
        (3, around(&format!("{}{whole}", evil.bare()))),
        (31, around(&format!("{whole}{}", evil.bare()))),
        (4, around(&into(&evil, &whole))),
        (41, around(&into(&evil, &format!("<saml:Advice>{whole}</saml:Advice>")))),
        (5, around(&format!("{}{bare}", into(&evil, &signature)))),
        // 6: the original inside the signature inside the evil one.
        (
            6,
            around(&into(
                &evil,
                &signature.replacen("</ds:Signature>", &format!("{bare}</ds:Signature>"), 1),
            )),
        ),
        // 7: in Extensions; 8: in an Object of the signature.
        (7, around(&format!("{}{}", extensions(&whole), evil.bare()))),
        (71, around(&format!("{}{}", evil.bare(), extensions(&whole)))),
        (8, around(&into(&evil, &with_object(&bare)))),
        // With the same ID, and the signature taken over as it is.
        (9, around(&into(&same, &signature))),
        (10, around(&format!("{}{whole}", same.bare()))),
        (11, around(&format!("{}{bare}", into(&same, &signature)))),
        // The original disguised by another name or namespace.
        (12, around(&format!("{}{}", evil.bare(), whole.replace("saml:Assertion", "saml:Other")))),
        (13, around(&format!("{}{}", into(&evil, &signature), whole.replace(SAML, "urn:x")))),
        (14, around(&format!("<saml:Assertions>{whole}</saml:Assertions>{}", evil.bare()))),
        // The signed one hangs below what nobody looks at, the root is another response.
        (
            15,
            around(&evil.bare()).replacen(
                "</samlp:Status>",
                &format!("<samlp:StatusDetail>{whole}</samlp:StatusDetail></samlp:Status>"),
                1,
            ),
        ),
    ] {
        let proven = prove(&wrapped);
        assert!(proven.is_err(), "{number}: {proven:?}");
    }
    // The near twin of them all.
    assert_right(prove(&around(&whole)));
}

#[test]
fn markup_beyond_elements_is_refused_wherever_it_is() {
    let right = forge().response();
    for (from, to) in [
        ("anna@corp.example", "anna@corp.example<!---->.evil.example"),
        ("anna@corp.example", "<![CDATA[anna@corp.example]]>"),
        ("anna@corp.example", "anna<?x?>@corp.example"),
        ("anna@corp.example", "anna@corp.example<!-- x -->"),
        ("<samlp:Response", "<!DOCTYPE samlp:Response><samlp:Response"),
        ("<samlp:Response", "<!DOCTYPE x [<!ENTITY a \"anna\">]><samlp:Response"),
        ("<samlp:Response", "<?xml-stylesheet href=\"x\"?><samlp:Response"),
        ("<samlp:Response", "<!-- x --><samlp:Response"),
        ("</samlp:Response>", "</samlp:Response><!-- x -->"),
    ] {
        assert_eq!(prove(&right.replacen(from, to, 1)), Err(SamlError::Markup), "{to}");
        let declared = format!("<?xml version=\"1.0\"?>{}", right.replacen(from, to, 1));
        assert_eq!(prove(&declared), Err(SamlError::Markup), "{to}");
    }
    // A signer that signs over a comment: what it signed is the text without it, and that is read.
    let named = forge().body("anna@corp.example", "anna@corp.example.evil.example");
    let split = named.response().replacen("corp.example.evil", "corp.example<!---->.evil", 1);
    assert_eq!(prove(&split), Err(SamlError::Markup));
    assert_eq!(named.prove().unwrap().identity.subject, "anna@corp.example.evil.example");

    let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">\
                <!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\">]><x>&c;</x>";
    assert_eq!(Response::read(bomb).map(drop), Err(SamlError::Markup));
    for entity in ["&nbsp;", "&x;", "&#0;", "&#xFFFF;", "&"] {
        let wrong = right.replacen("anna@", &format!("{entity}anna@"), 1);
        assert_eq!(prove(&wrong), Err(SamlError::NotXml), "{entity}");
    }
    // The declaration is not believed where it stands elsewhere.
    assert_eq!(prove(&format!(" <?xml version=\"1.0\"?>{right}")), Err(SamlError::Markup));
    assert_eq!(
        prove(&format!("<?xml version=\"1.0\"?><?xml version=\"1.0\"?>{right}")),
        Err(SamlError::Markup)
    );
}

#[test]
fn everything_has_a_bound() {
    let inside = |inner: &str| around(&format!("<saml:x>{inner}</saml:x>"));
    let nested = |depth: usize| {
        inside(&format!("{}{}", "<saml:y>".repeat(depth), "</saml:y>".repeat(depth)))
    };
    assert!(Response::read(&nested(30)).is_ok());
    assert_eq!(Response::read(&nested(31)).map(drop), Err(SamlError::TooDeep));
    assert_eq!(Response::read(&nested(4_000)).map(drop), Err(SamlError::TooDeep));
    assert_eq!(Response::read(&"<a>".repeat(80_000)).map(drop), Err(SamlError::TooDeep));
    assert_eq!(
        Response::read(&inside(&"<saml:y/>".repeat(8_300))).map(drop),
        Err(SamlError::TooDeep)
    );
    let long = inside(&"x".repeat(RESPONSE_BYTES_MAX));
    assert_eq!(Response::read(&long).map(drop), Err(SamlError::TooLong));
    assert_eq!(decode(&"A".repeat(RESPONSE_BYTES_MAX * 2)), Err(SamlError::TooLong));
    for wrong in ["%", "AAA", "////"] {
        assert_eq!(decode(wrong), Err(SamlError::NotEncoded), "{wrong}");
    }
    // Groups: at the bound, and one past it.
    let groups = |count: usize| {
        let values = "<saml:AttributeValue>g</saml:AttributeValue>".repeat(count);
        forge().body(
            "</saml:AttributeValue><saml:AttributeValue>ops</saml:AttributeValue>",
            &format!("</saml:AttributeValue>{values}"),
        )
    };
    assert_eq!(groups(1023).prove().unwrap().identity.groups.len(), 1024);
    assert_eq!(groups(1024).prove(), Err(SamlError::Groups));
    // Many declarations inside one another cost no more than they are allowed to.
    let nested: String = (0..31).map(|n| format!("<saml:y xmlns:a{n}=\"urn:{n}\">")).collect();
    assert!(Response::read(&inside(&format!("{nested}{}", "</saml:y>".repeat(31)))).is_err());
}

/// What the file says an identity is made of.
#[test]
fn names_of_the_file_are_looked_up() {
    let attribute = |name: &str, values: &str| {
        let end = "</saml:AttributeStatement>";
        let more = format!("<saml:Attribute Name=\"{name}\">{values}</saml:Attribute>{end}");
        forge().body(end, &more)
    };
    let value = |text: &str| format!("<saml:AttributeValue>{text}</saml:AttributeValue>");
    let by_uid = Provider { subject: Some("uid".to_owned()), ..provider() };
    let named = attribute("uid", &value("u-17"));
    let proven = prove_by(&named.response(), &by_uid).unwrap();
    assert_eq!(proven.identity.subject, "u-17");
    for (name, values) in [("other", value("u-17")), ("uid", value("")), ("uid", String::new())] {
        let proven = prove_by(&attribute(name, &values).response(), &by_uid);
        assert_eq!(proven, Err(SamlError::Subject), "{name} {values}");
    }
    let two = attribute("uid", &(value("u-17") + &value("u-18")));
    assert_eq!(prove_by(&two.response(), &by_uid), Err(SamlError::Attribute));
    // Groups may come as several attributes of one name; an empty value is none.
    let more = attribute("groups", &(value("third") + &value("")));
    assert_eq!(more.prove().unwrap().identity.groups, ["dba", "ops", "third"]);
    let without = Provider { groups: "roles".to_owned(), claims: BTreeMap::new(), ..provider() };
    let proven = prove_by(&forge().response(), &without).unwrap();
    assert!(proven.identity.groups.is_empty() && proven.identity.claims.is_empty());
}

/// Forty random documents, each with one element of it as libxml2 canonicalizes it.
#[test]
fn canonical_text_is_what_libxml2_makes_of_it() {
    for line in include_str!("../../tests/saml/canonical.jsonl").lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = case["xml"].as_str().unwrap();
        let document = roxmltree::Document::parse(text).unwrap();
        let element = usize::try_from(case["element"].as_u64().unwrap()).unwrap();
        let apex = document.descendants().filter(Node::is_element).nth(element).unwrap();
        let list = case["inclusive"].as_array().unwrap();
        let inclusive: Vec<&str> = list.iter().map(|it| it.as_str().unwrap()).collect();
        let ours = canonical(apex, None, &inclusive);
        assert_eq!(ours.as_deref(), case["canonical"].as_str(), "{inclusive:?} {text}");
    }
}

/// What is canonical stays what it is, whatever it was made of.
#[test]
fn canonical_text_is_its_own() {
    let text = forge().response();
    let document = tree::parse(&text).unwrap();
    let once = canonical(document.root_element(), None, &[]).unwrap();
    let document = tree::parse(&once).unwrap();
    assert_eq!(canonical(document.root_element(), None, &[]), Some(once.clone()));
}

#[test]
fn keys_come_out_of_certificates() {
    let dir = std::env::temp_dir().join(format!("gatepost-saml-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let make = |arguments: &[&str]| {
        let (key, certificate) = (dir.join("key.pem"), dir.join("certificate.pem"));
        let output = std::process::Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-subj", "/CN=idp", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        [key, certificate].map(|path| std::fs::read_to_string(path).unwrap())
    };
    let curve = |name: &'static str| vec!["-newkey", "ec", "-pkeyopt", name];
    let [private, rsa] = make(&["-newkey", "rsa:2048"]);
    assert_eq!(Key::of_pem(&rsa).map(|it| it.len()), Ok(1));
    assert_eq!(Key::of_pem(&format!("{rsa}\n{rsa}")).map(|it| it.len()), Ok(2));
    for name in ["ec_paramgen_curve:P-256", "ec_paramgen_curve:P-384", "ec_paramgen_curve:P-521"] {
        let [_, certificate] = make(&curve(name));
        assert!(Key::of_pem(&certificate).is_ok(), "{name}");
    }
    for wrong in [
        vec!["-newkey", "rsa:1024"],
        vec!["-newkey", "ed25519"],
        curve("ec_paramgen_curve:secp256k1"),
    ] {
        let [_, certificate] = make(&wrong);
        assert_eq!(Key::of_pem(&certificate), Err(KeyError::NotAKey), "{wrong:?}");
    }
    assert_eq!(Key::of_pem(""), Err(KeyError::NotACertificate));
    assert_eq!(Key::of_pem(&private), Err(KeyError::NotACertificate));
    assert_eq!(Key::of_base64("AAAA"), Err(KeyError::NotACertificate));

    // A request that is signed, as a provider reads it.
    let signs = SigningKey::read(&private, &rsa).unwrap();
    let provider =
        Provider { signs: Some(signs), sso: "https://idp.example/sso?a=b".into(), ..provider() };
    let ticket = Ticket::generate(ENTITY, None).unwrap();
    let address = provider.login_address(&ticket, NOW).unwrap();
    let query = address.strip_prefix("https://idp.example/sso?a=b&").unwrap();
    let (signed, signature) = query.split_once("&Signature=").unwrap();
    let (request, algorithm) = signed.split_once("&SigAlg=").unwrap();
    assert_eq!(algorithm, "http%3A%2F%2Fwww.w3.org%2F2001%2F04%2Fxmldsig-more%23rsa-sha256");
    let value = |text: &str| {
        let text = text.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
        STANDARD.decode(text).unwrap()
    };
    let key = &Key::of_pem(&rsa).unwrap()[0];
    assert!(key.verifies(crate::oidc::Algorithm::Rs256, signed.as_bytes(), &value(signature)));
    let stored = value(request.strip_prefix("SAMLRequest=").unwrap());
    let xml = std::str::from_utf8(&stored[5..]).unwrap();
    assert_eq!(usize::from(stored[1]) + 256 * usize::from(stored[2]), xml.len());
    let root = tree::parse(xml).unwrap();
    let root = root.root_element();
    assert_eq!(root.own("ID"), Some(&*ticket.name()));
    assert_eq!(root.own("AssertionConsumerServiceURL"), Some(CONSUMER));
    assert!(provider.metadata().contains("AuthnRequestsSigned=\"true\""));
    assert_eq!(SigningKey::read(&rsa, &rsa).map(drop), Err(KeyError::NotPrivate));
    assert_eq!(SigningKey::read(&private, &private).map(drop), Err(KeyError::NotACertificate));

    // A provider's description of itself.
    let der = rsa.lines().filter(|it| !it.starts_with('-')).collect::<Vec<_>>().join("\n");
    let described = format!(
        "<?xml version=\"1.0\"?><!-- by hand --><md:EntityDescriptor entityID=\"{ENTITY}\" \
         xmlns:md=\"urn:oasis:names:tc:SAML:2.0:metadata\" xmlns:ds=\"{DS}\"><md:IDPSSODescriptor \
         protocolSupportEnumeration=\"urn:oasis:names:tc:SAML:2.0:protocol\">\
         <md:KeyDescriptor use=\"signing\"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>\n{der}\n\
         </ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>\
         <md:KeyDescriptor use=\"encryption\"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>none\
         </ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>\
         <md:SingleSignOnService Binding=\"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST\" \
         Location=\"https://idp.example/post\"/><md:SingleSignOnService \
         Binding=\"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect\" \
         Location=\"https://idp.example/sso\"/></md:IDPSSODescriptor></md:EntityDescriptor>"
    );
    let read = Described::read(&described).unwrap();
    assert_eq!((&*read.entity, &*read.sso), (ENTITY, "https://idp.example/sso"));
    assert_eq!(read.keys, Key::of_pem(&rsa).unwrap());
    for (from, to, expected) in [
        ("bindings:HTTP-Redirect", "bindings:SOAP", MetadataError::NoAddress),
        ("use=\"signing\"", "use=\"encryption\"", MetadataError::Key(KeyError::NotACertificate)),
        ("IDPSSODescriptor", "SPSSODescriptor", MetadataError::NotAProvider),
        ("EntityDescriptor", "EntitiesDescriptor", MetadataError::NotAProvider),
        ("</md:EntityDescriptor>", "", MetadataError::NotXml),
    ] {
        let mut wrong = described.replace(from, to);
        if to.contains("encryption") {
            wrong = wrong
                .replacen("use=\"encryption\"", "use=\"signing\"", 2)
                .replacen(&der, "none", 1);
        }
        assert_eq!(Described::read(&wrong).map(drop), Err(expected), "{from}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
