"""Algorithms that are there: entries of the leaderboard by name."""

ENTRIES = {
    "rss": "benchmarks.leaderboard.entries.learners:RSS",
    "rss-policy-gradient": "benchmarks.leaderboard.entries.learners:RSSPolicyGradient",
    "ppo": "benchmarks.leaderboard.entries.policy_gradients:PPO",
    "a2c": "benchmarks.leaderboard.entries.policy_gradients:A2C",
    "rloo": "benchmarks.leaderboard.entries.policy_gradients:RLOO",
    "grpo": "benchmarks.leaderboard.entries.policy_gradients:GRPO",
    "ppo-progressive": "benchmarks.leaderboard.entries.progressive:ProgressivePPO",
    "sb3-ppo": "benchmarks.leaderboard.entries.stable_baselines3:MapPPO",
    "sb3-a2c": "benchmarks.leaderboard.entries.stable_baselines3:MapA2C",
    "sb3-ppo-cnn": "benchmarks.leaderboard.entries.stable_baselines3:CnnPPO",
    "sb3-a2c-cnn": "benchmarks.leaderboard.entries.stable_baselines3:CnnA2C",
    "psl": "benchmarks.leaderboard.entries.learners:Labels",
    "majority": "benchmarks.leaderboard.entries.untrained:Majority",
    "random": "benchmarks.leaderboard.entries.untrained:Random",
}
