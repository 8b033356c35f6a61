//! One test per script; the scenario is the file's name.

macro_rules! scripts {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                crate::script::play(stringify!($name));
            }
        )*

        #[test]
        fn every_script_is_played() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
            let mut found: Vec<String> = std::fs::read_dir(folder)
                .unwrap()
                .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
                .collect();
            let mut played = vec![$(stringify!($name).to_owned()),*];
            found.sort();
            played.sort();
            assert_eq!(found, played);
        }
    };
}

scripts! {
    d_a_returning_leader_is_probed_at_the_end
    e11_partial_connectivity_chain
    e13_leader_that_hears_nobody
    e14_campaign_on_the_leader
    e15_learner_that_is_a_voter_elsewhere
    e16_no_transfer_to_a_full_or_damaged_disk
    e16_only_the_leader_hands_over
    e16_target_of_a_transfer_is_still_a_learner
    e16_transfer_only_to_voters_that_have_everything
    e17_transfer_ends_when_the_node_goes_down
    e17_transfer_to_a_dead_node
    e18_single_voter
    e18_single_voter_with_a_learner
    e1_a_vote_that_nobody_asked_for
    e1_vote_leaves_after_its_sync
    e20_a_removed_replica_is_no_candidate
    e20_a_replica_that_knows_nobody_votes
    e20_a_stranger_that_a_lagging_voter_needs
    e20_forged_messages
    e2_commit_hint_beyond_the_log
    e3_vote_comparison_is_lexicographic
    e4_higher_term_in_a_vote_answer
    e5_late_votes_after_a_higher_term
    e6_pre_candidate_forgets_leader_and_votes
    e7_prevote_higher_term_deadlock
    e8_granting_a_pre_vote_changes_nothing
    e8_the_leader_itself_asks_for_votes
    e9_late_pre_votes_after_winning
    e_leadership_lost_while_catching_up
    e_lower_term_leader_is_told
    e_whoever_is_expected_to_lead_waits_for_no_timeout
    e_node_down_breaks_the_lease
    e_sticky_voters_and_forced_votes
    e_two_leaders_in_one_term
    g_follower_returns_to_a_silent_group
    g_no_silence_while_something_is_open
    g_pre_vote_wakes_the_silent_leader
    g_quiesce_and_wake
    g_quiesced_leader_goes_down
    g_silence_is_refused_when_behind
    l1_read_before_an_own_commit
    l2_late_answers_confirm_no_later_read
    l2_reads_are_batched
    l2_rounds_of_another_term
    l3_read_quorum
    l3_single_voter_reads_at_once
    l6_read_while_joint
    m10_removed_members_confirm_no_read
    m13_old_memberships_are_no_invitation
    m1_no_change_before_an_own_commit
    m1_two_uncommitted_changes_of_two_terms
    m2_invalid_changes
    m2_one_change_at_a_time
    m3_joint_needs_both_halves
    m3_joint_restart
    m4_a_new_leader_leaves_joint
    m5_a_removed_voter_may_still_be_needed
    m5_removed_leader_steps_down
    m5_replace_the_leader
    m6_promotion_waits_for_the_learner
    m7_removed_members_get_nothing_and_block_nothing
    m8_truncation_reverts_the_membership
    m9_a_wiped_disk_is_another_replica
    r10_a_hundred_diverging_entries
    r11_purged_leader_and_fresh_progress
    r12_delayed_conflict_after_success
    r13_inflight_is_bounded_in_bytes
    r13_install_lost
    r13_lost_answer
    r13_lost_append
    r13_lost_probe
    r13_lost_probe_behind_a_heartbeat
    r13_one_larger_entry_passes
    r14_a_read_answered_wrong
    r14_a_read_of_another_term
    r14_a_read_that_is_trimmed_meanwhile
    r14_a_state_that_cannot_be_read
    r14_read_error_sends_nothing
    r16_deposed_leader_answers_its_reads
    r18_regressed_follower
    r19_duplicates_and_reordering
    r1_commit_only_of_the_own_term
    r2_a_committed_entry_is_never_replaced
    r2_identical_entries_are_skipped
    r3_prev_below_the_base
    r5_stale_answers_after_a_reset
    r6_append_aba_race
    r7_followers_alone_can_commit
    r7_the_leader_counts_itself_when_synced
    r7_the_own_vote_counts_when_synced
    r8_learners_do_not_commit
    r9_empty_append_at_the_base
    r9_follower_commits_only_what_it_has_verified
    r_batches_by_tick
    r_commit_is_announced_where_asked
    r_only_what_is_synced_and_committed_leaves_memory
    r_uncommitted_bytes_are_bounded
    s11_slow_follower_after_a_trim
    s1_a_leader_denies_the_entry_at_the_base
    s1_install_keeps_a_matching_suffix
    s2_install_replaces_a_diverging_log
    s5_install_denies_a_committed_entry
    s6_membership_of_the_install
    s7_second_install_while_the_first_is_written
    s9_install_names_the_entry_s_term
    trim_is_bounded_by_the_commit
    x23_received_is_told_and_commits_nothing
    x9_a_full_quorum_takes_no_records
    x9_full_after_a_part_was_taken
    x9_full_disks
}
