use super::*;

/// Nothing binds but the default.
const BIG: Machine = Machine {
    descriptors: 1 << 20,
    mappings: 1 << 20,
    threads: 1 << 22,
    threads_by: "pids",
    memory: 1 << 35,
};

fn plan(machine: &Machine, sessions: Option<usize>, connections: Option<usize>) -> Plan {
    super::plan(machine, &Wanted { sessions, connections, ..Wanted::default() })
}

#[test]
fn little_memory_binds_and_an_eighth_of_it_is_for_messages() {
    for (mib, sessions) in [(32, 60..160), (64, 200..500), (256, 1_200..2_500)] {
        let plan = plan(&Machine { memory: mib * MIB, ..BIG }, None, None);

        assert_eq!((plan.binding, plan.memory as u64), ("memory", mib * MIB / 8), "{mib}");
        assert!(sessions.contains(&plan.sessions), "{mib} MiB: {plan:?}");
    }
}

#[test]
fn a_budget_that_cannot_fit_is_taken_and_told() {
    let small = Machine { memory: 64 * MIB, ..BIG };

    let plan = super::plan(&small, &Wanted { memory: Some(1 << 30), ..Wanted::default() });

    assert_eq!((plan.memory, plan.fits), (1 << 30, false));
}

#[test]
fn the_least_limit_of_a_memory_cgroup_and_those_above_it_counts() {
    let top = std::env::temp_dir().join(format!("memory-limit-{}", std::process::id()));
    let own = top.join("own");
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("memory.max"), "max\n").unwrap();
    fs::write(top.join("memory.max"), "67108864\n").unwrap();
    assert_eq!(memory_limit(&[own.clone(), top.clone()]), Some(64 * MIB));

    fs::write(own.join("memory.limit_in_bytes"), "33554432\n").unwrap();
    assert_eq!(memory_limit(&[own, top.clone()]), Some(32 * MIB));

    fs::remove_dir_all(top).unwrap();
}

#[test]
fn too_few_threads_or_descriptors_to_start_are_named() {
    let few = Machine { threads: 10, threads_by: "processes of the user", ..BIG };
    assert!(few.can_start().unwrap_err().to_string().contains("processes of the user"));

    let few = Machine { descriptors: 16, ..BIG };
    assert!(few.can_start().unwrap_err().to_string().contains("ulimit -n"));

    assert!(BIG.can_start().is_ok());
}

#[test]
fn a_big_machine_holds_the_default() {
    let plan = plan(&BIG, None, None);

    assert_eq!((plan.sessions, plan.binding, plan.fits), (10_000, "the default", true));
    assert!(plan.connections >= 10_000, "{plan:?}");
}

#[test]
fn mappings_bind_on_an_ordinary_machine() {
    let plan = plan(&Machine { mappings: 65_530, ..BIG }, None, None);

    assert_eq!(plan.binding, "memory mappings");
    assert!((6_000..8_200).contains(&plan.sessions), "{plan:?}");
    assert!(plan.connections > plan.sessions, "{plan:?}");
}

#[test]
fn sixty_four_descriptors_hold_a_few_sessions() {
    let plan = plan(&Machine { descriptors: 64, ..BIG }, None, None);

    assert_eq!(plan.binding, "descriptors");
    assert_eq!((plan.sessions, plan.connections, plan.fits), (14, 18, true));
}

#[test]
fn a_small_cgroup_binds() {
    let plan = plan(&Machine { threads: 100, ..BIG }, None, None);

    assert_eq!(plan.binding, "pids");
    assert!(plan.sessions >= 10 && plan.sessions + plan.connections <= 50, "{plan:?}");
}

#[test]
fn the_smallest_machine_still_holds_one_of_each() {
    let machine =
        Machine { descriptors: 1, mappings: 0, threads: 0, threads_by: "pids", memory: 0 };

    let plan = plan(&machine, None, None);

    assert_eq!((plan.sessions, plan.connections, plan.fits), (1, 1, false));
}

#[test]
fn what_is_wanted_is_taken_as_it_is() {
    let plan = plan(&BIG, Some(20_000), Some(7));

    assert_eq!((plan.sessions, plan.connections), (20_000, 7));
    assert_eq!((plan.binding, plan.fits), ("--max-sessions", true));
}

#[test]
fn more_than_the_machine_holds_is_taken_and_told() {
    let small = Machine { descriptors: 1024, ..BIG };

    let sessions = plan(&small, Some(5_000), None);
    let connections = plan(&small, None, Some(5_000));

    assert_eq!((sessions.sessions, sessions.fits), (5_000, false));
    assert!(sessions.connections > 400, "{sessions:?}");
    assert_eq!((connections.connections, connections.fits), (5_000, false));
    assert_eq!((connections.sessions, connections.binding), (1, "--max-connections"));
}

#[test]
fn few_sessions_leave_more_connections() {
    let small = Machine { descriptors: 1024, ..BIG };
    let free = 1024 - DESCRIPTORS_RESERVED as usize;

    assert_eq!(plan(&small, Some(10), None).connections, free - 10);
}

#[test]
fn many_connections_leave_fewer_sessions() {
    let small = Machine { descriptors: 1024, ..BIG };
    let free = 1024 - DESCRIPTORS_RESERVED as usize;

    let plan = plan(&small, None, Some(900));

    assert_eq!((plan.sessions, plan.binding, plan.fits), (free - 900, "--max-connections", true));
}

#[test]
fn no_limit_at_all_does_not_overflow() {
    let machine = Machine {
        descriptors: PLENTY,
        mappings: PLENTY,
        threads: PLENTY,
        threads_by: "pids",
        memory: PLENTY,
    };

    assert_eq!(plan(&machine, None, None).sessions, 10_000);
    assert!(plan(&machine, Some(usize::MAX), Some(usize::MAX)).connections == usize::MAX);
}

#[test]
fn the_demo_takes_its_half() {
    let machine = Machine { descriptors: 128, ..BIG };

    assert_eq!(plan(&machine.halved(), None, None).sessions, 14);
}

#[test]
fn a_version_2_cgroup_is_looked_at_up_to_its_root() {
    assert_eq!(
        directories_in("0::/system.slice/bridge.service\n", "pids"),
        [
            Path::new("/sys/fs/cgroup/system.slice/bridge.service"),
            Path::new("/sys/fs/cgroup/system.slice"),
            Path::new("/sys/fs/cgroup"),
        ]
    );
}

#[test]
fn the_pids_hierarchy_of_version_1_is_looked_at_and_no_other() {
    assert_eq!(
        directories_in("8:cpu,pids:/docker/x\n4:memory:/docker/x\n1:name=systemd:/\n", "pids"),
        [
            Path::new("/sys/fs/cgroup/pids/docker/x"),
            Path::new("/sys/fs/cgroup/pids/docker"),
            Path::new("/sys/fs/cgroup/pids"),
        ]
    );
}

#[test]
fn a_cgroup_outside_the_namespace_counts_as_the_root() {
    assert_eq!(directories_in("0::/../x", "pids"), [Path::new("/sys/fs/cgroup")]);
    assert_eq!(directories_in("0::/", "pids"), [Path::new("/sys/fs/cgroup")]);
    assert!(directories_in("nonsense\n\n", "pids").is_empty());
}

#[test]
fn room_is_what_others_leave() {
    let group = std::env::temp_dir().join(format!("pids-room-{}", std::process::id()));
    fs::create_dir_all(&group).unwrap();
    let room = |max: &str, current: &str| {
        fs::write(group.join("pids.max"), max).unwrap();
        fs::write(group.join("pids.current"), current).unwrap();
        pids_room(std::slice::from_ref(&group))
    };

    assert_eq!(room("100\n", "40\n"), Some(60));
    assert_eq!(room("100\n", ""), Some(100));
    assert_eq!(room("5\n", "40\n"), Some(0));
    assert_eq!(room("max\n", "40\n"), None);

    fs::remove_dir_all(group).unwrap();
}

#[test]
fn this_machine_holds_something() {
    raise_descriptors();

    let plan = plan(&Machine::look(), None, None);

    assert!(plan.sessions >= 1 && plan.connections >= 1);
    assert_eq!(getrlimit(Resource::Nofile).current, getrlimit(Resource::Nofile).maximum);
}
