BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'database');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
INSERT INTO "study_directions" VALUES(2,'MINIMIZE',1,1);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'identity','{"budget": {"low": 212500, "high": 250000, "stated": false}, "objectives": ["top1", "madds"], "latency_limit_ms": null, "latency_cmd": null, "space": {"name": "tiny", "digest": "fbffebb3f763", "knobs": {"blocks.s2_down.out": [12, 16], "blocks.s2.expand": [2, 3], "blocks.s2.kernel": [3, 5], "blocks.s2.repeat": [0, 1], "blocks.s3_down.out": [16, 24], "blocks.s3.expand": [2, 4], "blocks.s3.repeat": [0, 1], "tokens.count": [1, 2, 3], "tokens.dim": [32, 64], "former.ffn": [0, 1], "former.s2": [true, false], "bridges.s2": ["both", "to_former", "to_mobile", "none"], "bridges.s3": ["both", "none"], "dyrelu.source": ["first_token", "mean_token", "pooled", "spatial", "none", "hswish"], "dyrelu.intercepts": [false, true], "stem.out": [4, 8], "lite.out": [8, 12], "head.hidden": [32, 64]}}, "data": {"name": "digits", "digest": "c5f01a8599be4280", "classes": 10, "train_images": 64, "val_images": 64}, "recipe": {"resolution": 16, "epochs": 1.0, "samples": 64, "val_samples": null, "batch": 16, "optimizer": "adamw", "lr": 0.002, "weight_decay": 0.05, "warmup": 0.25, "average": 8.0, "norm_images": 1024, "zero_residual": true, "label_smoothing": 0.0, "crop": 2}, "rungs": {"factors": [1.0, 3.0], "keep": 3.0, "finalists": 2, "seeds": 2, "rank_by": "val_loss"}, "deployment": {"resolution": 32, "classes": 10}, "sampler": "evolution", "seed": 0, "device": "cpu", "passport": null}');
INSERT INTO "study_user_attributes" VALUES(2,1,'stage 4 1 0','{"top1": 0.7113, "reason": null, "epochs": 3.0, "curve": [{"epoch": 0.5, "loss": 1.3377, "top1": 0.6623, "val_loss": 1.8377, "seconds": 0.0}, {"epoch": 1.0, "loss": 1.3149, "top1": 0.6851, "val_loss": 1.8149, "seconds": 0.0}, {"epoch": 3.0, "loss": 1.2887, "top1": 0.7113, "val_loss": 1.7887, "seconds": 0.0}], "train_seconds": 1.0, "weights_lost": null, "score": 0.16717735903010636, "rung": 1, "seed": 0, "finished": "2026-11-27T22:19:41+00:00"}');
INSERT INTO "study_user_attributes" VALUES(3,1,'stage 1 1 0','{"top1": 0.5534, "reason": null, "epochs": 3.0, "curve": [{"epoch": 0.5, "loss": 1.4808, "top1": 0.5192, "val_loss": 1.9808, "seconds": 0.0}, {"epoch": 1.0, "loss": 1.4665, "top1": 0.5335, "val_loss": 1.9665, "seconds": 0.0}, {"epoch": 3.0, "loss": 1.4466, "top1": 0.5534, "val_loss": 1.9466, "seconds": 0.0}], "train_seconds": 1.0, "weights_lost": null, "score": 0.1427586267068242, "rung": 1, "seed": 0, "finished": "2026-11-27T22:19:41+00:00"}');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'blocks.s2_down.out',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [12, 16]}}');
INSERT INTO "trial_params" VALUES(2,1,'blocks.s2.expand',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [2, 3]}}');
INSERT INTO "trial_params" VALUES(3,1,'blocks.s2.kernel',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [3, 5]}}');
INSERT INTO "trial_params" VALUES(4,1,'blocks.s2.repeat',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0, 1]}}');
INSERT INTO "trial_params" VALUES(5,1,'blocks.s3_down.out',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [16, 24]}}');
INSERT INTO "trial_params" VALUES(6,1,'blocks.s3.expand',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [2, 4]}}');
INSERT INTO "trial_params" VALUES(7,1,'blocks.s3.repeat',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0, 1]}}');
INSERT INTO "trial_params" VALUES(8,1,'tokens.count',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [1, 2, 3]}}');
INSERT INTO "trial_params" VALUES(9,1,'tokens.dim',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO "trial_params" VALUES(10,1,'former.ffn',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0, 1]}}');
INSERT INTO "trial_params" VALUES(11,1,'former.s2',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(12,1,'bridges.s2',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["both", "to_former", "to_mobile", "none"]}}');
INSERT INTO "trial_params" VALUES(13,1,'bridges.s3',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["both", "none"]}}');
INSERT INTO "trial_params" VALUES(14,1,'dyrelu.source',5.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["first_token", "mean_token", "pooled", "spatial", "none", "hswish"]}}');
INSERT INTO "trial_params" VALUES(15,1,'dyrelu.intercepts',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [false, true]}}');
INSERT INTO "trial_params" VALUES(16,1,'stem.out',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [4, 8]}}');
INSERT INTO "trial_params" VALUES(17,1,'lite.out',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [8, 12]}}');
INSERT INTO "trial_params" VALUES(18,1,'head.hidden',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO "trial_params" VALUES(19,1,'madds_target',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [223125, 231746, 240700, 250000]}}');
INSERT INTO "trial_params" VALUES(20,2,'blocks.s2_down.out',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [12, 16]}}');
INSERT INTO "trial_params" VALUES(21,2,'blocks.s2.expand',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [2, 3]}}');
INSERT INTO "trial_params" VALUES(22,2,'blocks.s2.kernel',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [3, 5]}}');
INSERT INTO "trial_params" VALUES(23,2,'blocks.s2.repeat',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0, 1]}}');
INSERT INTO "trial_params" VALUES(24,2,'blocks.s3_down.out',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [16, 24]}}');
INSERT INTO "trial_params" VALUES(25,2,'blocks.s3.expand',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [2, 4]}}');
INSERT INTO "trial_params" VALUES(26,2,'blocks.s3.repeat',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0, 1]}}');
INSERT INTO "trial_params" VALUES(27,2,'tokens.count',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [1, 2, 3]}}');
INSERT INTO "trial_params" VALUES(28,2,'tokens.dim',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO "trial_params" VALUES(29,2,'former.ffn',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0, 1]}}');
INSERT INTO "trial_params" VALUES(30,2,'former.s2',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(31,2,'bridges.s2',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["both", "to_former", "to_mobile", "none"]}}');
INSERT INTO "trial_params" VALUES(32,2,'bridges.s3',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["both", "none"]}}');
INSERT INTO "trial_params" VALUES(33,2,'dyrelu.source',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["first_token", "mean_token", "pooled", "spatial", "none", "hswish"]}}');
INSERT INTO "trial_params" VALUES(34,2,'dyrelu.intercepts',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [false, true]}}');
INSERT INTO "trial_params" VALUES(35,2,'stem.out',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [4, 8]}}');
INSERT INTO "trial_params" VALUES(36,2,'lite.out',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [8, 12]}}');
INSERT INTO "trial_params" VALUES(37,2,'head.hidden',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO "trial_params" VALUES(38,2,'madds_target',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [223125, 231746, 240700, 250000]}}');
INSERT INTO "trial_params" VALUES(39,3,'blocks.s2_down.out',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [12, 16]}}');
INSERT INTO "trial_params" VALUES(40,3,'blocks.s2.expand',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [2, 3]}}');
INSERT INTO "trial_params" VALUES(41,3,'blocks.s2.kernel',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [3, 5]}}');
INSERT INTO "trial_params" VALUES(42,3,'blocks.s2.repeat',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0, 1]}}');
INSERT INTO "trial_params" VALUES(43,3,'blocks.s3_down.out',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [16, 24]}}');
INSERT INTO "trial_params" VALUES(44,3,'blocks.s3.expand',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [2, 4]}}');
INSERT INTO "trial_params" VALUES(45,3,'blocks.s3.repeat',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0, 1]}}');
INSERT INTO "trial_params" VALUES(46,3,'tokens.count',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [1, 2, 3]}}');
INSERT INTO "trial_params" VALUES(47,3,'tokens.dim',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO "trial_params" VALUES(48,3,'former.ffn',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0, 1]}}');
INSERT INTO "trial_params" VALUES(49,3,'former.s2',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(50,3,'bridges.s2',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["both", "to_former", "to_mobile", "none"]}}');
INSERT INTO "trial_params" VALUES(51,3,'bridges.s3',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["both", "none"]}}');
INSERT INTO "trial_params" VALUES(52,3,'dyrelu.source',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["first_token", "mean_token", "pooled", "spatial", "none", "hswish"]}}');
INSERT INTO "trial_params" VALUES(53,3,'dyrelu.intercepts',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [false, true]}}');
INSERT INTO "trial_params" VALUES(54,3,'stem.out',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [4, 8]}}');
INSERT INTO "trial_params" VALUES(55,3,'lite.out',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [8, 12]}}');
INSERT INTO "trial_params" VALUES(56,3,'head.hidden',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO "trial_params" VALUES(57,3,'madds_target',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [223125, 231746, 240700, 250000]}}');
INSERT INTO "trial_params" VALUES(58,4,'blocks.s2_down.out',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [12, 16]}}');
INSERT INTO "trial_params" VALUES(59,4,'blocks.s2.expand',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [2, 3]}}');
INSERT INTO "trial_params" VALUES(60,4,'blocks.s2.kernel',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [3, 5]}}');
INSERT INTO "trial_params" VALUES(61,4,'blocks.s2.repeat',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0, 1]}}');
INSERT INTO "trial_params" VALUES(62,4,'blocks.s3_down.out',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [16, 24]}}');
INSERT INTO "trial_params" VALUES(63,4,'blocks.s3.expand',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [2, 4]}}');
INSERT INTO "trial_params" VALUES(64,4,'blocks.s3.repeat',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0, 1]}}');
INSERT INTO "trial_params" VALUES(65,4,'tokens.count',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [1, 2, 3]}}');
INSERT INTO "trial_params" VALUES(66,4,'tokens.dim',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO "trial_params" VALUES(67,4,'former.ffn',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0, 1]}}');
INSERT INTO "trial_params" VALUES(68,4,'former.s2',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(69,4,'bridges.s2',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["both", "to_former", "to_mobile", "none"]}}');
INSERT INTO "trial_params" VALUES(70,4,'bridges.s3',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["both", "none"]}}');
INSERT INTO "trial_params" VALUES(71,4,'dyrelu.source',4.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["first_token", "mean_token", "pooled", "spatial", "none", "hswish"]}}');
INSERT INTO "trial_params" VALUES(72,4,'dyrelu.intercepts',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [false, true]}}');
INSERT INTO "trial_params" VALUES(73,4,'stem.out',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [4, 8]}}');
INSERT INTO "trial_params" VALUES(74,4,'lite.out',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [8, 12]}}');
INSERT INTO "trial_params" VALUES(75,4,'head.hidden',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO "trial_params" VALUES(76,4,'madds_target',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [223125, 231746, 240700, 250000]}}');
INSERT INTO "trial_params" VALUES(77,5,'blocks.s2_down.out',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [12, 16]}}');
INSERT INTO "trial_params" VALUES(78,5,'blocks.s2.expand',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [2, 3]}}');
INSERT INTO "trial_params" VALUES(79,5,'blocks.s2.kernel',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [3, 5]}}');
INSERT INTO "trial_params" VALUES(80,5,'blocks.s2.repeat',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0, 1]}}');
INSERT INTO "trial_params" VALUES(81,5,'blocks.s3_down.out',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [16, 24]}}');
INSERT INTO "trial_params" VALUES(82,5,'blocks.s3.expand',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [2, 4]}}');
INSERT INTO "trial_params" VALUES(83,5,'blocks.s3.repeat',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0, 1]}}');
INSERT INTO "trial_params" VALUES(84,5,'tokens.count',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [1, 2, 3]}}');
INSERT INTO "trial_params" VALUES(85,5,'tokens.dim',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO "trial_params" VALUES(86,5,'former.ffn',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0, 1]}}');
INSERT INTO "trial_params" VALUES(87,5,'former.s2',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(88,5,'bridges.s2',3.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["both", "to_former", "to_mobile", "none"]}}');
INSERT INTO "trial_params" VALUES(89,5,'bridges.s3',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["both", "none"]}}');
INSERT INTO "trial_params" VALUES(90,5,'dyrelu.source',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["first_token", "mean_token", "pooled", "spatial", "none", "hswish"]}}');
INSERT INTO "trial_params" VALUES(91,5,'dyrelu.intercepts',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [false, true]}}');
INSERT INTO "trial_params" VALUES(92,5,'stem.out',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [4, 8]}}');
INSERT INTO "trial_params" VALUES(93,5,'lite.out',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [8, 12]}}');
INSERT INTO "trial_params" VALUES(94,5,'head.hidden',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO "trial_params" VALUES(95,5,'madds_target',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [223125, 231746, 240700, 250000]}}');
INSERT INTO "trial_params" VALUES(96,6,'blocks.s2_down.out',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [12, 16]}}');
INSERT INTO "trial_params" VALUES(97,6,'blocks.s2.expand',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [2, 3]}}');
INSERT INTO "trial_params" VALUES(98,6,'blocks.s2.kernel',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [3, 5]}}');
INSERT INTO "trial_params" VALUES(99,6,'blocks.s2.repeat',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0, 1]}}');
INSERT INTO "trial_params" VALUES(100,6,'blocks.s3_down.out',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [16, 24]}}');
INSERT INTO "trial_params" VALUES(101,6,'blocks.s3.expand',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [2, 4]}}');
INSERT INTO "trial_params" VALUES(102,6,'blocks.s3.repeat',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0, 1]}}');
INSERT INTO "trial_params" VALUES(103,6,'tokens.count',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [1, 2, 3]}}');
INSERT INTO "trial_params" VALUES(104,6,'tokens.dim',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO "trial_params" VALUES(105,6,'former.ffn',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0, 1]}}');
INSERT INTO "trial_params" VALUES(106,6,'former.s2',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(107,6,'bridges.s2',3.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["both", "to_former", "to_mobile", "none"]}}');
INSERT INTO "trial_params" VALUES(108,6,'bridges.s3',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["both", "none"]}}');
INSERT INTO "trial_params" VALUES(109,6,'dyrelu.source',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["first_token", "mean_token", "pooled", "spatial", "none", "hswish"]}}');
INSERT INTO "trial_params" VALUES(110,6,'dyrelu.intercepts',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [false, true]}}');
INSERT INTO "trial_params" VALUES(111,6,'stem.out',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [4, 8]}}');
INSERT INTO "trial_params" VALUES(112,6,'lite.out',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [8, 12]}}');
INSERT INTO "trial_params" VALUES(113,6,'head.hidden',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO "trial_params" VALUES(114,6,'madds_target',3.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [223125, 231746, 240700, 250000]}}');
INSERT INTO "trial_params" VALUES(115,7,'blocks.s2_down.out',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [12, 16]}}');
INSERT INTO "trial_params" VALUES(116,7,'blocks.s2.expand',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [2, 3]}}');
INSERT INTO "trial_params" VALUES(117,7,'blocks.s2.kernel',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [3, 5]}}');
INSERT INTO "trial_params" VALUES(118,7,'blocks.s2.repeat',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0, 1]}}');
INSERT INTO "trial_params" VALUES(119,7,'blocks.s3_down.out',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [16, 24]}}');
INSERT INTO "trial_params" VALUES(120,7,'blocks.s3.expand',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [2, 4]}}');
INSERT INTO "trial_params" VALUES(121,7,'blocks.s3.repeat',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0, 1]}}');
INSERT INTO "trial_params" VALUES(122,7,'tokens.count',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [1, 2, 3]}}');
INSERT INTO "trial_params" VALUES(123,7,'tokens.dim',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO "trial_params" VALUES(124,7,'former.ffn',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [0, 1]}}');
INSERT INTO "trial_params" VALUES(125,7,'former.s2',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [true, false]}}');
INSERT INTO "trial_params" VALUES(126,7,'bridges.s2',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["both", "to_former", "to_mobile", "none"]}}');
INSERT INTO "trial_params" VALUES(127,7,'bridges.s3',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["both", "none"]}}');
INSERT INTO "trial_params" VALUES(128,7,'dyrelu.source',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["first_token", "mean_token", "pooled", "spatial", "none", "hswish"]}}');
INSERT INTO "trial_params" VALUES(129,7,'dyrelu.intercepts',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [false, true]}}');
INSERT INTO "trial_params" VALUES(130,7,'stem.out',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [4, 8]}}');
INSERT INTO "trial_params" VALUES(131,7,'lite.out',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [8, 12]}}');
INSERT INTO "trial_params" VALUES(132,7,'head.hidden',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO "trial_params" VALUES(133,7,'madds_target',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [223125, 231746, 240700, 250000]}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'proposal','0');
INSERT INTO "trial_user_attributes" VALUES(2,1,'origin','"from auto:9"');
INSERT INTO "trial_user_attributes" VALUES(3,1,'width','0.58203125');
INSERT INTO "trial_user_attributes" VALUES(4,1,'config','{"schema": 1, "tokens": {"count": 1, "dim": 32, "init_std": 1.0}, "stem": 4, "lite": {"exp": 8, "out": 4, "stride": 1}, "blocks": [{"exp": 12, "out": 8, "stride": 2, "kernel": 3, "bridge": "both", "former": false, "tail": 4}, {"exp": 24, "out": 8, "stride": 1, "kernel": 5, "bridge": "both", "former": false, "tail": 4}, {"exp": 24, "out": 12, "stride": 2, "kernel": 3, "bridge": "none", "former": true, "tail": 4}], "head": {"conv": 48, "hidden": 32}, "former": {"heads": 4, "ffn": 1, "projections": "tied"}, "bridges": {"heads": 2, "gate": true, "projections": "published", "final": true}, "dyrelu": {"source": "hswish", "position": "both", "slopes": 2, "intercepts": true, "reduction": 4}, "groups": 1, "resolution": 32, "classes": 10}');
INSERT INTO "trial_user_attributes" VALUES(5,1,'arch_id','"02e665344b8d"');
INSERT INTO "trial_user_attributes" VALUES(6,1,'madds','243680');
INSERT INTO "trial_user_attributes" VALUES(7,1,'macs','214400');
INSERT INTO "trial_user_attributes" VALUES(8,1,'num_params','15650');
INSERT INTO "trial_user_attributes" VALUES(9,1,'activation_bytes','16384');
INSERT INTO "trial_user_attributes" VALUES(10,1,'resolution','32');
INSERT INTO "trial_user_attributes" VALUES(11,1,'outcome','"trained"');
INSERT INTO "trial_user_attributes" VALUES(12,1,'reason','null');
INSERT INTO "trial_user_attributes" VALUES(13,1,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(14,1,'device','"cpu"');
INSERT INTO "trial_user_attributes" VALUES(15,1,'top1','0.2569');
INSERT INTO "trial_user_attributes" VALUES(16,1,'epochs','1.0');
INSERT INTO "trial_user_attributes" VALUES(17,1,'curve','[{"epoch": 0.5, "loss": 1.759, "top1": 0.241, "val_loss": 2.259, "seconds": 0.0}, {"epoch": 1.0, "loss": 1.7431, "top1": 0.2569, "val_loss": 2.2431, "seconds": 0.0}]');
INSERT INTO "trial_user_attributes" VALUES(18,1,'train_seconds','2.0');
INSERT INTO "trial_user_attributes" VALUES(19,1,'images_per_second','1.0');
INSERT INTO "trial_user_attributes" VALUES(20,1,'score','0.10612899402061585');
INSERT INTO "trial_user_attributes" VALUES(21,1,'finished','"2026-11-27T22:19:21+00:00"');
INSERT INTO "trial_user_attributes" VALUES(22,2,'proposal','1');
INSERT INTO "trial_user_attributes" VALUES(23,2,'origin','"from auto:3"');
INSERT INTO "trial_user_attributes" VALUES(24,2,'width','0.748046875');
INSERT INTO "trial_user_attributes" VALUES(25,2,'config','{"schema": 1, "tokens": {"count": 1, "dim": 64, "init_std": 1.0}, "stem": 4, "lite": {"exp": 8, "out": 4, "stride": 1}, "blocks": [{"exp": 12, "out": 8, "stride": 2, "kernel": 3, "bridge": "to_mobile", "former": true, "tail": 4}, {"exp": 24, "out": 16, "stride": 2, "kernel": 3, "bridge": "both", "former": true, "tail": 4}], "head": {"conv": 64, "hidden": 64}, "former": {"heads": 4, "ffn": 0, "projections": "tied"}, "bridges": {"heads": 2, "gate": true, "projections": "published", "final": true}, "dyrelu": {"source": "first_token", "position": "both", "slopes": 2, "intercepts": false, "reduction": 4}, "groups": 1, "resolution": 32, "classes": 10}');
INSERT INTO "trial_user_attributes" VALUES(26,2,'arch_id','"8b8190f08f41"');
INSERT INTO "trial_user_attributes" VALUES(27,2,'madds','222464');
INSERT INTO "trial_user_attributes" VALUES(28,2,'macs','198272');
INSERT INTO "trial_user_attributes" VALUES(29,2,'num_params','47506');
INSERT INTO "trial_user_attributes" VALUES(30,2,'activation_bytes','16384');
INSERT INTO "trial_user_attributes" VALUES(31,2,'resolution','32');
INSERT INTO "trial_user_attributes" VALUES(32,2,'outcome','"trained"');
INSERT INTO "trial_user_attributes" VALUES(33,2,'reason','null');
INSERT INTO "trial_user_attributes" VALUES(34,2,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(35,2,'device','"cpu"');
INSERT INTO "trial_user_attributes" VALUES(36,2,'top1','0.5335');
INSERT INTO "trial_user_attributes" VALUES(37,2,'epochs','1.0');
INSERT INTO "trial_user_attributes" VALUES(38,2,'curve','[{"epoch": 0.5, "loss": 1.4808, "top1": 0.5192, "val_loss": 1.9808, "seconds": 0.0}, {"epoch": 1.0, "loss": 1.4665, "top1": 0.5335, "val_loss": 1.9665, "seconds": 0.0}]');
INSERT INTO "trial_user_attributes" VALUES(39,2,'train_seconds','2.0');
INSERT INTO "trial_user_attributes" VALUES(40,2,'images_per_second','1.0');
INSERT INTO "trial_user_attributes" VALUES(41,2,'score','0.13994581038245596');
INSERT INTO "trial_user_attributes" VALUES(42,2,'finished','"2026-11-27T22:19:26+00:00"');
INSERT INTO "trial_user_attributes" VALUES(43,3,'proposal','2');
INSERT INTO "trial_user_attributes" VALUES(44,3,'origin','"from auto:1"');
INSERT INTO "trial_user_attributes" VALUES(45,3,'width','0.498046875');
INSERT INTO "trial_user_attributes" VALUES(46,3,'config','{"schema": 1, "tokens": {"count": 1, "dim": 32, "init_std": 1.0}, "stem": 4, "lite": {"exp": 8, "out": 4, "stride": 1}, "blocks": [{"exp": 12, "out": 8, "stride": 2, "kernel": 3, "bridge": "to_former", "former": false, "tail": 4}, {"exp": 16, "out": 8, "stride": 1, "kernel": 3, "bridge": "to_former", "former": false, "tail": 4}, {"exp": 24, "out": 12, "stride": 2, "kernel": 3, "bridge": "both", "former": true, "tail": 4}, {"exp": 24, "out": 12, "stride": 1, "kernel": 3, "bridge": "both", "former": true, "tail": 4}], "head": {"conv": 48, "hidden": 64}, "former": {"heads": 4, "ffn": 1, "projections": "tied"}, "bridges": {"heads": 2, "gate": true, "projections": "published", "final": true}, "dyrelu": {"source": "first_token", "position": "both", "slopes": 2, "intercepts": true, "reduction": 4}, "groups": 1, "resolution": 32, "classes": 10}');
INSERT INTO "trial_user_attributes" VALUES(47,3,'arch_id','"2fb4d4a1718d"');
INSERT INTO "trial_user_attributes" VALUES(48,3,'madds','237472');
INSERT INTO "trial_user_attributes" VALUES(49,3,'macs','207616');
INSERT INTO "trial_user_attributes" VALUES(50,3,'num_params','35122');
INSERT INTO "trial_user_attributes" VALUES(51,3,'activation_bytes','16384');
INSERT INTO "trial_user_attributes" VALUES(52,3,'resolution','32');
INSERT INTO "trial_user_attributes" VALUES(53,3,'outcome','"trained"');
INSERT INTO "trial_user_attributes" VALUES(54,3,'reason','null');
INSERT INTO "trial_user_attributes" VALUES(55,3,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(56,3,'device','"cpu"');
INSERT INTO "trial_user_attributes" VALUES(57,3,'top1','0.3474');
INSERT INTO "trial_user_attributes" VALUES(58,3,'epochs','1.0');
INSERT INTO "trial_user_attributes" VALUES(59,3,'curve','[{"epoch": 0.5, "loss": 1.6657, "top1": 0.3343, "val_loss": 2.1657, "seconds": 0.0}, {"epoch": 1.0, "loss": 1.6526, "top1": 0.3474, "val_loss": 2.1526, "seconds": 0.0}]');
INSERT INTO "trial_user_attributes" VALUES(60,3,'train_seconds','2.0');
INSERT INTO "trial_user_attributes" VALUES(61,3,'images_per_second','1.0');
INSERT INTO "trial_user_attributes" VALUES(62,3,'score','0.11618169233873989');
INSERT INTO "trial_user_attributes" VALUES(63,3,'finished','"2026-11-27T22:19:29+00:00"');
INSERT INTO "trial_user_attributes" VALUES(64,4,'proposal','3');
INSERT INTO "trial_user_attributes" VALUES(65,4,'origin','"from auto:6"');
INSERT INTO "trial_user_attributes" VALUES(66,4,'width','0.58203125');
INSERT INTO "trial_user_attributes" VALUES(67,4,'config','{"schema": 1, "tokens": {"count": 1, "dim": 64, "init_std": 1.0}, "stem": 4, "lite": {"exp": 8, "out": 8, "stride": 1}, "blocks": [{"exp": 24, "out": 8, "stride": 2, "kernel": 3, "bridge": "to_former", "former": true, "tail": 4}, {"exp": 24, "out": 12, "stride": 2, "kernel": 3, "bridge": "none", "former": true, "tail": 4}], "head": {"conv": 48, "hidden": 64}, "former": {"heads": 4, "ffn": 1, "projections": "tied"}, "bridges": {"heads": 2, "gate": true, "projections": "published", "final": true}, "dyrelu": {"source": "none", "position": "both", "slopes": 2, "intercepts": false, "reduction": 4}, "groups": 1, "resolution": 32, "classes": 10}');
INSERT INTO "trial_user_attributes" VALUES(68,4,'arch_id','"23d53f735ea6"');
INSERT INTO "trial_user_attributes" VALUES(69,4,'madds','232832');
INSERT INTO "trial_user_attributes" VALUES(70,4,'macs','205952');
INSERT INTO "trial_user_attributes" VALUES(71,4,'num_params','49886');
INSERT INTO "trial_user_attributes" VALUES(72,4,'activation_bytes','16384');
INSERT INTO "trial_user_attributes" VALUES(73,4,'resolution','32');
INSERT INTO "trial_user_attributes" VALUES(74,4,'outcome','"trained"');
INSERT INTO "trial_user_attributes" VALUES(75,4,'reason','null');
INSERT INTO "trial_user_attributes" VALUES(76,4,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(77,4,'device','"cpu"');
INSERT INTO "trial_user_attributes" VALUES(78,4,'top1','0.331');
INSERT INTO "trial_user_attributes" VALUES(79,4,'epochs','1.0');
INSERT INTO "trial_user_attributes" VALUES(80,4,'curve','[{"epoch": 0.5, "loss": 1.6928, "top1": 0.3072, "val_loss": 2.1928, "seconds": 0.0}, {"epoch": 1.0, "loss": 1.669, "top1": 0.331, "val_loss": 2.169, "seconds": 0.0}]');
INSERT INTO "trial_user_attributes" VALUES(81,4,'train_seconds','2.0');
INSERT INTO "trial_user_attributes" VALUES(82,4,'images_per_second','1.0');
INSERT INTO "trial_user_attributes" VALUES(83,4,'score','0.11429185163559014');
INSERT INTO "trial_user_attributes" VALUES(84,4,'finished','"2026-11-27T22:19:31+00:00"');
INSERT INTO "trial_user_attributes" VALUES(85,5,'proposal','4');
INSERT INTO "trial_user_attributes" VALUES(86,5,'origin','"from auto:2"');
INSERT INTO "trial_user_attributes" VALUES(87,5,'width','0.58203125');
INSERT INTO "trial_user_attributes" VALUES(88,5,'config','{"schema": 1, "tokens": {"count": 3, "dim": 32, "init_std": 1.0}, "stem": 4, "lite": {"exp": 8, "out": 4, "stride": 1}, "blocks": [{"exp": 12, "out": 8, "stride": 2, "kernel": 3, "bridge": "none", "former": true, "tail": 4}, {"exp": 24, "out": 12, "stride": 2, "kernel": 3, "bridge": "none", "former": true, "tail": 4}, {"exp": 48, "out": 12, "stride": 1, "kernel": 3, "bridge": "none", "former": true, "tail": 4}], "head": {"conv": 48, "hidden": 32}, "former": {"heads": 4, "ffn": 1, "projections": "tied"}, "bridges": {"heads": 2, "gate": true, "projections": "published", "final": true}, "dyrelu": {"source": "mean_token", "position": "both", "slopes": 2, "intercepts": false, "reduction": 4}, "groups": 1, "resolution": 32, "classes": 10}');
INSERT INTO "trial_user_attributes" VALUES(89,5,'arch_id','"db0a22e402c6"');
INSERT INTO "trial_user_attributes" VALUES(90,5,'madds','240032');
INSERT INTO "trial_user_attributes" VALUES(91,5,'macs','211904');
INSERT INTO "trial_user_attributes" VALUES(92,5,'num_params','28098');
INSERT INTO "trial_user_attributes" VALUES(93,5,'activation_bytes','16384');
INSERT INTO "trial_user_attributes" VALUES(94,5,'resolution','32');
INSERT INTO "trial_user_attributes" VALUES(95,5,'outcome','"trained"');
INSERT INTO "trial_user_attributes" VALUES(96,5,'reason','null');
INSERT INTO "trial_user_attributes" VALUES(97,5,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(98,5,'device','"cpu"');
INSERT INTO "trial_user_attributes" VALUES(99,5,'top1','0.6851');
INSERT INTO "trial_user_attributes" VALUES(100,5,'epochs','1.0');
INSERT INTO "trial_user_attributes" VALUES(101,5,'curve','[{"epoch": 0.5, "loss": 1.3377, "top1": 0.6623, "val_loss": 1.8377, "seconds": 0.0}, {"epoch": 1.0, "loss": 1.3149, "top1": 0.6851, "val_loss": 1.8149, "seconds": 0.0}]');
INSERT INTO "trial_user_attributes" VALUES(102,5,'train_seconds','2.0');
INSERT INTO "trial_user_attributes" VALUES(103,5,'images_per_second','1.0');
INSERT INTO "trial_user_attributes" VALUES(104,5,'score','0.16285419299525267');
INSERT INTO "trial_user_attributes" VALUES(105,5,'finished','"2026-11-27T22:19:34+00:00"');
INSERT INTO "trial_user_attributes" VALUES(106,6,'proposal','5');
INSERT INTO "trial_user_attributes" VALUES(107,6,'origin','"spread"');
INSERT INTO "trial_user_attributes" VALUES(108,6,'width','0.498046875');
INSERT INTO "trial_user_attributes" VALUES(109,6,'config','{"schema": 1, "tokens": {"count": 3, "dim": 32, "init_std": 1.0}, "stem": 4, "lite": {"exp": 8, "out": 4, "stride": 1}, "blocks": [{"exp": 12, "out": 8, "stride": 2, "kernel": 3, "bridge": "none", "former": false, "tail": 4}, {"exp": 24, "out": 8, "stride": 1, "kernel": 5, "bridge": "none", "former": false, "tail": 4}, {"exp": 24, "out": 8, "stride": 2, "kernel": 3, "bridge": "both", "former": true, "tail": 4}], "head": {"conv": 32, "hidden": 32}, "former": {"heads": 4, "ffn": 0, "projections": "tied"}, "bridges": {"heads": 2, "gate": true, "projections": "published", "final": true}, "dyrelu": {"source": "mean_token", "position": "both", "slopes": 2, "intercepts": true, "reduction": 4}, "groups": 1, "resolution": 32, "classes": 10}');
INSERT INTO "trial_user_attributes" VALUES(110,6,'arch_id','"4d04a47ff8af"');
INSERT INTO "trial_user_attributes" VALUES(111,6,'madds','238944');
INSERT INTO "trial_user_attributes" VALUES(112,6,'macs','210560');
INSERT INTO "trial_user_attributes" VALUES(113,6,'num_params','17570');
INSERT INTO "trial_user_attributes" VALUES(114,6,'activation_bytes','16384');
INSERT INTO "trial_user_attributes" VALUES(115,6,'resolution','32');
INSERT INTO "trial_user_attributes" VALUES(116,6,'outcome','"trained"');
INSERT INTO "trial_user_attributes" VALUES(117,6,'reason','null');
INSERT INTO "trial_user_attributes" VALUES(118,6,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(119,6,'device','"cpu"');
INSERT INTO "trial_user_attributes" VALUES(120,6,'top1','0.4016');
INSERT INTO "trial_user_attributes" VALUES(121,6,'epochs','1.0');
INSERT INTO "trial_user_attributes" VALUES(122,6,'curve','[{"epoch": 0.5, "loss": 1.6052, "top1": 0.3948, "val_loss": 2.1052, "seconds": 0.0}, {"epoch": 1.0, "loss": 1.5984, "top1": 0.4016, "val_loss": 2.0984, "seconds": 0.0}]');
INSERT INTO "trial_user_attributes" VALUES(123,6,'train_seconds','2.0');
INSERT INTO "trial_user_attributes" VALUES(124,6,'images_per_second','1.0');
INSERT INTO "trial_user_attributes" VALUES(125,6,'score','0.12265251536604524');
INSERT INTO "trial_user_attributes" VALUES(126,6,'finished','"2026-11-27T22:19:36+00:00"');
INSERT INTO "trial_user_attributes" VALUES(127,7,'proposal','6');
INSERT INTO "trial_user_attributes" VALUES(128,7,'origin','"spread"');
INSERT INTO "trial_user_attributes" VALUES(129,7,'width','0.623046875');
INSERT INTO "trial_user_attributes" VALUES(130,7,'config','{"schema": 1, "tokens": {"count": 3, "dim": 32, "init_std": 1.0}, "stem": 4, "lite": {"exp": 8, "out": 4, "stride": 1}, "blocks": [{"exp": 12, "out": 8, "stride": 2, "kernel": 3, "bridge": "both", "former": true, "tail": 4}, {"exp": 24, "out": 8, "stride": 2, "kernel": 3, "bridge": "both", "former": true, "tail": 4}, {"exp": 16, "out": 8, "stride": 1, "kernel": 3, "bridge": "both", "former": true, "tail": 4}], "head": {"conv": 32, "hidden": 32}, "former": {"heads": 4, "ffn": 1, "projections": "tied"}, "bridges": {"heads": 2, "gate": true, "projections": "published", "final": true}, "dyrelu": {"source": "pooled", "position": "both", "slopes": 2, "intercepts": false, "reduction": 4}, "groups": 1, "resolution": 32, "classes": 10}');
INSERT INTO "trial_user_attributes" VALUES(131,7,'arch_id','"865373b93c07"');
INSERT INTO "trial_user_attributes" VALUES(132,7,'madds','229404');
INSERT INTO "trial_user_attributes" VALUES(133,7,'macs','199324');
INSERT INTO "trial_user_attributes" VALUES(134,7,'num_params','26103');
INSERT INTO "trial_user_attributes" VALUES(135,7,'activation_bytes','16384');
INSERT INTO "trial_user_attributes" VALUES(136,7,'resolution','32');
INSERT INTO "trial_user_attributes" VALUES(137,7,'outcome','"trained"');
INSERT INTO "trial_user_attributes" VALUES(138,7,'reason','null');
INSERT INTO "trial_user_attributes" VALUES(139,7,'seed','0');
INSERT INTO "trial_user_attributes" VALUES(140,7,'device','"cpu"');
INSERT INTO "trial_user_attributes" VALUES(141,7,'top1','0.5163');
INSERT INTO "trial_user_attributes" VALUES(142,7,'epochs','1.0');
INSERT INTO "trial_user_attributes" VALUES(143,7,'curve','[{"epoch": 0.5, "loss": 1.5021, "top1": 0.4979, "val_loss": 2.0021, "seconds": 0.0}, {"epoch": 1.0, "loss": 1.4837, "top1": 0.5163, "val_loss": 1.9837, "seconds": 0.0}]');
INSERT INTO "trial_user_attributes" VALUES(144,7,'train_seconds','2.0');
INSERT INTO "trial_user_attributes" VALUES(145,7,'images_per_second','1.0');
INSERT INTO "trial_user_attributes" VALUES(146,7,'score','0.13755932505224577');
INSERT INTO "trial_user_attributes" VALUES(147,7,'finished','"2026-11-27T22:19:40+00:00"');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,0.2569,'FINITE');
INSERT INTO "trial_values" VALUES(2,1,1,243680.0,'FINITE');
INSERT INTO "trial_values" VALUES(3,2,0,0.5335,'FINITE');
INSERT INTO "trial_values" VALUES(4,2,1,222464.0,'FINITE');
INSERT INTO "trial_values" VALUES(5,3,0,0.3474,'FINITE');
INSERT INTO "trial_values" VALUES(6,3,1,237472.0,'FINITE');
INSERT INTO "trial_values" VALUES(7,4,0,0.331,'FINITE');
INSERT INTO "trial_values" VALUES(8,4,1,232832.0,'FINITE');
INSERT INTO "trial_values" VALUES(9,5,0,0.6851,'FINITE');
INSERT INTO "trial_values" VALUES(10,5,1,240032.0,'FINITE');
INSERT INTO "trial_values" VALUES(11,6,0,0.4016,'FINITE');
INSERT INTO "trial_values" VALUES(12,6,1,238944.0,'FINITE');
INSERT INTO "trial_values" VALUES(13,7,0,0.5163,'FINITE');
INSERT INTO "trial_values" VALUES(14,7,1,229404.0,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-27 22:19:21.911299','2026-11-27 22:19:21.911299');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-27 22:19:26.239550','2026-11-27 22:19:26.239550');
INSERT INTO "trials" VALUES(3,2,1,'COMPLETE','2026-11-27 22:19:29.307671','2026-11-27 22:19:29.307671');
INSERT INTO "trials" VALUES(4,3,1,'COMPLETE','2026-11-27 22:19:31.885757','2026-11-27 22:19:31.885757');
INSERT INTO "trials" VALUES(5,4,1,'COMPLETE','2026-11-27 22:19:34.439336','2026-11-27 22:19:34.439336');
INSERT INTO "trials" VALUES(6,5,1,'COMPLETE','2026-11-27 22:19:36.853599','2026-11-27 22:19:36.853599');
INSERT INTO "trials" VALUES(7,6,1,'COMPLETE','2026-11-27 22:19:40.247927','2026-11-27 22:19:40.247927');
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
