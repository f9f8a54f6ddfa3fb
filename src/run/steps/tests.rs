use std::path::Path;

use kchaos_core::PlannedStep;

use super::*;

fn plan(text: &str) -> Result<Vec<Planned>, String> {
    #[derive(serde::Deserialize)]
    struct File {
        step: Vec<toml::Table>,
    }
    read(toml::from_str::<File>(text).unwrap().step)
}

fn inventory(more: &str, kafka: &str) -> Inventory {
    let text = format!(
        "[cluster]\nname = \"a\"\nenvironment = \"lab\"\nexpect_cluster_id = \"x\"\n[ssh]\nuser = \"root\"\nkey_file = \"k\"\n\
         known_hosts_file = \"h\"\n{more}[kafka]\nbootstrap = [\"b1:9092\"]\n{kafka}[zookeeper]\nconnect = [\"b1:2181\"]\n[[host]]\n\
         name = \"b1\"\naddress = \"b1\"\n[[host.daemon]]\nkind = \"kafka\"\nid = 1\nport = 9092\nstart = \"a\"\nstop = \"b\"\n\
         find = {{ port = 9092 }}\nlog_dir = \"/l\"\n[[host.daemon]]\nkind = \"zookeeper\"\nid = 1\nport = 2181\nstart = \"a\"\nstop = \"b\"\n\
         find = {{ port = 2181 }}\nlog_dir = \"/l\"\n"
    );
    Inventory::parse(Path::new("kchaos.toml"), &text).unwrap()
}

#[test]
fn a_plan_says_its_steps_in_order_and_in_words() {
    let text = "[[step]]\nstep = \"set-config\"\nwhere = \"file\"\ntarget = \"brokers\"\n\
                settings = { \"inter.broker.protocol.version\" = \"2.8\", \"a.b\" = false, \"ssl.key.password\" = \"hunter2\" }\n\
                [[step]]\nstep = \"replace-version\"\ntarget = \"brokers\"\nversion = \"3.9.1\"\n\
                [[step]]\nstep = \"wait-isr\"\nwithin = \"60s\"\ntopics = \"all\"\n\
                [[step]]\nstep = \"restart\"\ntarget = \"zookeeper:1\"\n\
                [[step]]\nstep = \"set-feature\"\nfeature = \"metadata.version\"\nrelease = \"4.1\"\n";
    let words: Vec<String> = plan(text).unwrap().iter().map(|planned| planned.step.words()).collect();
    assert_eq!(
        words,
        [
            "set-config no a.b, inter.broker.protocol.version=2.8, ssl.key.password=(hidden) in the file of brokers",
            "replace-version brokers by 3.9.1",
            "wait-isr of all topics within 60 s",
            "restart zookeeper:1",
            "set-feature metadata.version to 27 (4.1)",
        ]
    );
}

#[test]
fn what_is_kept_of_a_step_as_it_was_written_has_no_secrets() {
    let text = "[[step]]\nstep = \"set-config\"\nwhere = \"file\"\ntarget = \"brokers\"\n\
                settings = { \"ssl.keystore.key\" = \"hunter2\", \"listener.name.x.sasl.jaas.config\" = \"hunter2\", \"a.b\" = \"1\" }\n";
    let planned = plan(text).unwrap();
    let kept = serde_json::to_string(&planned[0].as_written).unwrap();
    assert!(!kept.contains("hunter2") && !planned[0].step.words().contains("hunter2"), "{kept}");
    assert!(kept.contains("\"ssl.keystore.key\":\"(hidden)\"") && kept.contains("\"a.b\":\"1\""), "{kept}");
}

#[test]
fn what_is_wrong_in_a_step_is_said_with_its_place() {
    for (text, words) in [
        ("step = \"restrat\"", "step 1: unknown step \"restrat\": did you mean \"restart\"?"),
        ("target = \"brokers\"", "step 1: step = \"KIND\" is missing: one of restart, wait-isr, "),
        ("step = \"restart\"", "step 1 (restart): missing field `target`"),
        ("step = \"restart\"\ntarget = \"brokres\"", "unknown target \"brokres\""),
        ("step = \"restart\"\ntarget = \"halves\"", "is a part of the network"),
        ("step = \"restart\"\ntarget = \"broker:one\"", "one is no id"),
        ("step = \"wait-isr\"\nwithin = \"60\"", "\"60\" lacks a unit"),
        ("step = \"set-config\"\nwhere = \"file\"\ntarget = \"brokers\"\nsettings = {}", "settings is empty"),
        ("step = \"set-config\"\nwhere = \"file\"\ntarget = \"brokers\"\nsettings = { a = true }", "a = true: write \"true\""),
        ("step = \"set-config\"\nwhere = \"zookeeper\"\nsettings = { a = 1 }", "unknown variant `zookeeper`"),
    ] {
        let reason = plan(&format!("[[step]]\n{text}\n")).err().unwrap_or_default();
        assert!(reason.contains(words), "{text}: {reason}");
    }
}

#[test]
fn what_this_cluster_cannot_do_is_refused_before_anything_is_touched() {
    let plain = inventory("", "");
    let able = inventory("", "replace_version = \"install {version}\"\n");
    let refused = |text: &str, inventory: &Inventory| refuse(&plan(&format!("[[step]]\n{text}\n")).unwrap(), inventory).err();
    let replace = "step = \"replace-version\"\nversion = \"3.9.1\"\ntarget = ";
    assert!(refused(&format!("{replace}\"brokers\""), &plain).is_some_and(|why| why.contains("replace_version = \"COMMAND {version}\"")));
    assert_eq!(refused(&format!("{replace}\"brokers\""), &able), None);
    assert!(refused(&format!("{replace}\"zookeepers\""), &able).is_some_and(|why| why.contains("brokers and controllers only")));
    assert!(refused(&format!("{replace}\"broker:7\""), &able).is_some_and(|why| why.contains("it has broker:1, zookeeper:1")));
    let config = "step = \"set-config\"\nsettings = { a = \"b\" }\nwhere = ";
    assert!(refused(&format!("{config}\"file\""), &able).is_some_and(|why| why.contains("target is missing")));
    assert!(refused(&format!("{config}\"cluster\"\ntarget = \"brokers\""), &able).is_some_and(|why| why.contains("broker:ID")));
    assert_eq!(refused(&format!("{config}\"cluster\""), &able), None);
    let feature = "step = \"set-feature\"\nfeature = \"metadata.version\"\nlevel = 27";
    assert!(refused(feature, &able).is_some_and(|why| why.contains("inter.broker.protocol.version by set-config")));
}

#[test]
fn settings_that_steps_change_need_not_be_as_they_were() {
    let step = |step: &str, keys: serde_json::Value| PlannedStep { step: step.into(), keys: serde_json::from_value(keys).unwrap() };
    let steps = vec![step("set-config", serde_json::json!({"settings": {"a.b": "1"}})), step("replace-version", serde_json::json!({}))];
    let names = changed_settings(&Plan { steps, ..Plan::default() });
    let mut settings = BTreeMap::from([(
        "broker 1".to_owned(),
        ["a.b", "min.insync.replicas", "inter.broker.protocol.version"].map(|name| (name.to_owned(), "1".to_owned())).into(),
    )]);
    without(&names, &mut settings);
    assert_eq!(settings["broker 1"].keys().collect::<Vec<_>>(), ["min.insync.replicas"]);
}
